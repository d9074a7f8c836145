"""The section on the rules of others of `quality.py`'s page, with tapewatch beside them."""

from collections.abc import Iterator

from quality_tables import Score, figure, named, paragraph, table

OURS = "**tapewatch**"


def peers_section(score: Score, results: dict[str, Score]) -> str:
    text = paragraph(
        "Each rule at the threshold at which it is as loud as stated. `level_z` is the z of the "
        "price over an hour, which the rule of bot 4.15 compares with 3 (on pumps that is shown "
        "too); `driftlock` looks at the text of a trade. The forest (40 trees of 256 points) "
        "manages some 50 points a second, so it has a shorter tape and none of the real ones. A "
        "score that saturates, as river's Gaussian does at 1, cannot be made quieter than it is "
        "there. What tapewatch does is taken from the sections above, as shipped."
    )
    if score["missing"]:
        text += paragraph(f"Not installed when this was measured: {', '.join(score['missing'])}.")
    return text + tapes(score, results) + pumps(score, results) + bars(score, results)


def tapes(score: Score, results: dict[str, Score]) -> str:
    ks = sorted({row["k"] for row in score["synthetic"]})
    seen: dict[tuple[str, float, str], dict[float, Score]] = {}
    for row in score["synthetic"]:
        key = (row["tape"], row["share"], f"`{row['rule']}`")
        seen.setdefault(key, {})[row["k"]] = row["seen"]
    shares = {f"{share:g}_of_steps": share for _, share, _ in seen}
    for row in results.get("synthetic", {}).get("power", []):
        if row["at"] in shares and row["k"] in ks:
            key = (row["tape"], shares[row["at"]], OURS)
            seen.setdefault(key, {})[row["k"]] = row["seen"]
    body = [
        (named(tape), f"{share:g}", rule, *(figure(cells[k]) for k in ks))
        for (tape, share, rule), cells in sorted(seen.items())
    ]
    head = ("tape", "false steps", "rule", *(f"{k:g} sd" for k in ks))
    return f"Share of jumps seen at a share of false steps:\n\n{table(head, body)}"


def pumps(score: Score, results: dict[str, Score]) -> str:
    found = [
        (f"`{one['rule']}`", f"{one['line']:.4g}", one["score"]) for one in score.get("pumps", [])
    ]
    if not found:
        return ""
    if "pumps" in results:
        found.append((OURS, "as shipped", results["pumps"]))
    rows = [
        (
            rule,
            line,
            figure(one["onsets"]["within_10_s"]),
            figure(one["onsets"]["within_300_s"]),
            figure(one["alarms_per_market_day"]),
            figure(one["chance"]["share"]),
        )
        for rule, line, one in found
    ]
    head = (
        "rule", "threshold", "onsets within 10 s", "within 300 s", "alarms a market-day", "chance",
    )  # fmt: skip
    return f"\nPumps:\n\n{table(head, rows)}"


def bars(score: Score, results: dict[str, Score]) -> str:
    found = [
        (f"`{one['rule']}`", f"{one['line']:.4g}", one["score"])
        for one in score.get("bitfinex", [])
    ]
    if not found:
        return ""
    if "bitfinex" in results:
        found.append((f"{OURS}, outages too", "as shipped", results["bitfinex"]))
    rows = [
        (rule, line, figure(one["incidents"]), ", ".join(loads(one)) or "none")
        for rule, line, one in found
    ]
    head = ("rule", "threshold", "incidents found", "alarms a day")
    return f"\nPrice incidents on minute bars:\n\n{table(head, rows)}"


def loads(one: Score) -> Iterator[str]:
    for name, load in one["load"].items():
        yield f"{name} {figure(load['alarms_per_day']['rate'])}"
