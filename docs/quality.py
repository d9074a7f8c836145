"""Writes the page on detection quality from measured results, and measures them if asked to.

    python docs/quality.py --run DIR          measure all sets, keep the results, write the page
    python docs/quality.py --run DIR --only nab   measure some of them
    python docs/quality.py                        write the page from the results kept

DIR holds one folder for each set (`FOLDERS`). Each set is measured by the command that the page
shows for it; what it prints is kept in `quality.json`, rounded. The page states no figure of its
own, but for what was published elsewhere and how many variants were tried.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from quality_peers import peers_section
from quality_tables import (
    Score,
    figure,
    nab_section,
    named,
    paragraph,
    plain_section,
    synthetic_section,
)

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "quality.json"
PAGE = HERE / "explanation" / "quality.md"
NOTE = "<!-- Written by docs/quality.py from docs/quality.json; a test checks it. -->\n\n"

# Set -> its folder below DIR, and what it answers.
FOLDERS: dict[str, tuple[str, str]] = {
    "synthetic": (".", "Made-up tapes"),
    "pumps": ("pumps", "Pumps of small coins"),
    "bitfinex": ("bitfinex_1m", "Minute bars with wrong prints, crashes and outages"),
    "usde": ("usde_depeg", "A stablecoin that one venue alone lost"),
    "books": ("polymarket_books", "Books of prediction markets"),
    "wallets": ("polymarket_wallets", "Rings of accounts"),
    "quiet": (".", "Calm markets"),
    "nab": ("nab", "The Numenta Anomaly Benchmark"),
    "peers": (".", "Rules of others on the same data"),
}
DIGITS = 4  # significant ones of a figure that is kept


def measure(name: str, data: pathlib.Path) -> Score:
    """Run one set as the page says it is run."""
    tapewatch = pathlib.Path(sys.executable).parent / "tapewatch"
    folder = data / FOLDERS[name][0]
    with tempfile.TemporaryDirectory() as out:
        command = [str(tapewatch), "evaluate", name, str(folder), "--out", out]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    score: Score = rounded(json.loads(done.stdout))
    return unnamed(score)


def unnamed(score: Score) -> Score:
    """Without what the page has no use for: accounts that were named, which are people, and the
    files in which nothing happened."""
    real = score.get("as_it_is", {})
    if "named" in real:
        kinds = [one["kind"] for one in real.pop("named")]
        real["named"] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    if isinstance(score.get("files"), list):
        score["files"] = len(score["files"])
    planted = score.get("planted", {})
    planted.pop("innocents_above_arbitrage", None)
    return score


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def kept(results: dict[str, Score]) -> str:
    """The results as they are kept: one line for each part of each set, so that a change shows."""
    sets = []
    for name in sorted(results):
        parts = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in results[name].items()
        )
        sets.append(f" {json.dumps(name)}: {{\n{parts}\n }}")
    return "{\n" + ",\n".join(sets) + "\n}\n"


SECTIONS: dict[str, Callable[[Score], str]] = {
    "synthetic": synthetic_section,
    "nab": nab_section,
}


WEAK = """\
- A jump of 5 local sd on a market with heavy tails is inside the normal tail: hardly any is seen
  at a line that leaves one false step in a thousand. No method tried sees them.
- A move that only buyers or only sellers have traded yet moves the price by half.
- What is calibrated is a step, a second or five. Events are fewer and come in clusters, so the
  rate of alarms is the budget's business and not that of p.
- Before a market's record is full (2,000 steps), p is a cautious guess, marked as extrapolated.
- A record that is full of jumps takes them for usual: where one second in a hundred jumps by 8 sd,
  even 12 sd does not reach the line.
- Out of the box a market may take one alarm a day. So more is seen than is told: a jump of 5 sd on
  a calm tape is always seen, and told about half of the time.
- Floors in percent, spreads and orders were chosen with these pumps, bars and books in view, and
  the budget with some of these tapes ([which](../adr/0018-detector-numbers.md)); new data do worse:
  on seeds that nobody had looked at, heavy tails (t3) gave 2.7 alarms a day instead of 1.
- Rings of accounts were planted by those who wrote the detector. Accounts that trade with
  themselves two or three times only, and rings that use the round amounts everybody uses, are hard
  to tell from chance.
- Labels of real markets are few. Ten onsets found of ten is a recall of 0.69 or more, no more.
"""


def weak(results: dict[str, Score]) -> str:
    """What the suite does badly: what it is known to be blind to, then what fails its bound."""
    text = f"## What it does badly\n\n{WEAK}"
    failing = [
        f"- {named(name)}: {gate['name']} is {figure(gate['value'])}."
        for name, score in results.items()
        for gate in score.get("gates", [])
        if isinstance(gate, dict) and gate.get("holds") is False
    ]
    return text + "".join(f"{line}\n" for line in failing)


def page(results: dict[str, Score]) -> str:
    """The whole page."""
    text = f"# How well it detects\n\n{NOTE}"
    text += paragraph(
        "Every figure is printed by the command above it, with default settings and one "
        "configuration for all markets; no market has a setting of its own. "
        "Proportions have exact binomial (made-up tapes: Wilson) intervals, rates exact Poisson "
        "ones, at 95 %. An alarm is a line of severity warn or above; alarms of one instrument "
        "within 300 s are one episode. Recall counts from the onset on, without point "
        "adjustment. The data are public but not part of this repository; their folders are "
        "named as in the commands. `python docs/quality.py --run DIR` measures everything anew "
        "and writes this page."
    )
    text += weak(results)
    for name, (folder, title) in FOLDERS.items():
        if name not in results:
            continue
        where = "DIR" if folder == "." else f"DIR/{folder}"
        text += f"\n## {title}\n\n"
        text += f"```console\n$ tapewatch evaluate {name} {where} --out OUT\n```\n\n"
        if name == "peers":
            text += peers_section(results[name], results)
        else:
            text += SECTIONS.get(name, plain_section)(results[name])
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure and write the page on quality.")
    parser.add_argument(
        "--run", metavar="DIR", type=pathlib.Path, help="measure on the data in DIR"
    )
    parser.add_argument("--only", default="", help="sets to measure, comma-separated")
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    if asked.run is not None:
        for name in asked.only.split(",") if asked.only else FOLDERS:
            print(f"evaluating {name}", flush=True)
            results[name] = measure(name, asked.run)
            RESULTS.write_text(kept(results), "utf-8")
    PAGE.write_text(page(results), "utf-8")


if __name__ == "__main__":
    main()
