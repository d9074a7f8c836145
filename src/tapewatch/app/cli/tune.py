"""`tapewatch tune`: would it have fired? A recorded session at other settings."""

from typing import TYPE_CHECKING, Final

import click

from tapewatch.app.cli import output
from tapewatch.app.cli.replay import tape_path
from tapewatch.model.errors import ConfigError

if TYPE_CHECKING:
    from tapewatch.app.tune import Span, Trial
    from tapewatch.model.outputs import Alert

NOT_MET: Final = 3  # exit code
_SHORT_DAYS: Final = 1.0 / 144  # ten minutes: less says nothing of a day
_TOLD: Final = 10  # changes that are told one by one, without -v


@click.command()
@click.argument("tape", metavar="TAPE_OR_SESSION")
@click.option("--budget", type=float, metavar="N", help="Alarms a day; default: the recorded one.")
@click.option(
    "--try",
    "tried",
    multiple=True,
    metavar="KEY=V1,V2,...",
    help="Settings to try instead of budgets around N and the other profiles.",
)
@output.JSON
@click.pass_context
def tune(
    context: click.Context,
    *,
    tape: str,
    budget: float | None,
    tried: tuple[str, ...],
    as_json: bool,
) -> None:
    """Would it have fired? Replay a session at other settings and compare.

    Says how many alarms a day each setting would have given, which come and go, and which setting
    keeps N a day (exit code 3 if none does). An alarm is a warning or more; the rest are notices.
    """
    from tapewatch.app import tune as work  # noqa: PLC0415  --help stays quick

    if budget is not None and not 0.0 < budget <= 1e6:
        raise ConfigError("must be above 0 and at most a million alarms a day", "--budget")
    shell = output.current()
    path = tape_path(tape)
    span = work.span(path)
    wanted = budget or span.config.gate.budget.alarms_per_day
    texts = work.parsed(tried) or work.usual(span.config, wanted)
    found: list[Trial] = []
    for trial in work.trials(path, span, texts):
        found.append(trial)
        if as_json:
            _line(trial)
        else:
            _row(trial, span, len(texts))
    best = work.chosen(found, wanted, span.days)
    if as_json:
        setting = None if best is None else best.text
        shell.put(output.json_line("tune.choice", budget=wanted, days=span.days, setting=setting))
    else:
        _advise(found[0], best, wanted, tape)
    if best is None:
        context.exit(NOT_MET)


def _line(trial: "Trial") -> None:
    from msgspec import to_builtins  # noqa: PLC0415  see above

    shown = to_builtins(trial)
    setting = shown.pop("text")
    output.current().put(output.json_line("tune", setting=setting, recorded=not setting, **shown))


def _row(trial: "Trial", span: "Span", others: int) -> None:
    """A line of the table; above the first its heading, and what will take time."""
    from tapewatch.model.time import duration_text  # noqa: PLC0415  see above
    from tapewatch.sinks.wording import counted, fit  # noqa: PLC0415

    shell = output.current()
    if not trial.text:
        lasted = duration_text(span.days * 86_400.0)
        short = "; too short for a rate" if span.days < _SHORT_DAYS else ""
        shell.say(f"{lasted} on the tape, replayed {counted(others + 1, 'time')}{short}.")
        shell.put(f"{'setting':<38}  alarms   a day  {'95 %':<12}   new  gone")
    rate, per_day, interval = trial.per_day, "-", "-"
    if rate.rate is not None and span.days >= _SHORT_DAYS:
        per_day, interval = _few(rate.rate), f"{_few(rate.low)} to {_few(rate.high)}"
    new, gone = (f"{len(trial.appear):,}", f"{len(trial.vanish):,}") if trial.text else ("", "")
    shell.put(
        f"{fit(trial.text or 'as recorded', 38):<38}  {trial.alarms:>6,}  {per_day:>6}"
        f"  {interval:<12}  {new:>4}  {gone:>4}".rstrip()
    )


def _few(value: float) -> str:
    """A rate in few digits."""
    return f"{value:,.0f}" if value >= 10.0 else f"{value:.1f}"


def _advise(recorded: "Trial", best: "Trial | None", budget: float, tape: str) -> None:
    from tapewatch.app.tune import changes  # noqa: PLC0415  see above

    shell = output.current()
    if best is None:
        shell.say(f"None of them keeps {budget:g} a day: rules that are broken are always told.")
        shell.say(
            "See which, and whether they are worth a setting: tapewatch replay ... --alerts -"
        )
        return
    if best is recorded:
        shell.say(f"The recorded settings keep {budget:g} a day; nothing here says more within it.")
        return
    told = changes(best)
    shown = told if shell.verbose else told[:_TOLD]
    for sign, alert in shown:
        shell.put(_change(sign, alert))
    if len(told) > len(shown):
        shell.say(f"... and {len(told) - len(shown):,} more; see them with -v")
    shell.say(f"Keeps {budget:g} a day and says the most: {best.text}")
    shell.say(f"All of it: tapewatch replay {tape} --set {best.text} --diff")
    shell.say(f"Use it:    tapewatch watch ... --set {best.text}")


def _change(sign: str, alert: "Alert") -> str:
    from tapewatch.model.text import clean  # noqa: PLC0415  see above
    from tapewatch.model.time import format_rfc3339  # noqa: PLC0415
    from tapewatch.sinks.wording import fit  # noqa: PLC0415

    at = format_rfc3339(alert.onset_ns, 0)
    said = clean(alert.reason) or alert.cause
    return fit(f"{sign} {at} {alert.severity:<5} {clean(alert.instrument, 48)} {said}")
