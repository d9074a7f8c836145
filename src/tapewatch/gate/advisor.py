"""The advisor: what tapewatch has said, folded into one answer per market. Pure; time is passed in.

Theory of operation. `fold` takes outputs as they are made, in the process or from a bus; `heard`
takes note that data came, `on_kill` of the kill switch. Marks are dated from when they came in, so
that clocks of two machines need not agree; what is older than `stale_s` on arrival is history and
marks nothing. `check` only looks. An incident that is resolved takes its marks with it.

What the alarm budget held back, and what goes on in an incident that was shown, widens: people are
not told twice, and a strategy is not to walk into it.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from tapewatch.gate.advice import (
    ACTIONS,
    Action,
    Advice,
    AdviceSettings,
    Judgement,
    Mode,
    expiry_ns,
    strictest,
    told,
)
from tapewatch.gate.context import whole
from tapewatch.gate.markets import NAME_JOIN, Market, Markets, is_source, market_key, sees
from tapewatch.model import limits
from tapewatch.model.outputs import Alert, Fault, Output, Report, Resolved, Suppressed
from tapewatch.model.reasons import REASONS, Reason
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, NS_PER_S

_RAISED: Final[dict[str, Action]] = {"warn": "widen", "high": "block", "page": "block"}
# Kinds of faults that say that data are not current, and what says that they are again.
_FLAGGED: Final = {"stale": "stale", "halted": "halted", "link_down": "link"}
_CLEARED: Final = {"current": "stale", "online": "halted", "link_up": "link"}
_KILLED: Final = {
    "on": "The kill switch is on.",
    "unknown": "The kill switch cannot be read, which counts as on.",
}


class Counters(Struct):
    """What an advisor did so far: reports and alerts taken in, of which `late` would have marked a
    market but were history; `answers` by what was judged."""

    folded: int = 0
    late: int = 0
    answers: dict[Action, int] = field(default_factory=lambda: dict.fromkeys(ACTIONS, 0))


class Advisor:
    """Answers `check(market, now_ns)`. `mode` is the service's; in `limited_live` blocks are live
    in `limited_markets` only, named as in `check`."""

    def __init__(
        self,
        settings: AdviceSettings | None = None,
        *,
        mode: Mode = "shadow_only",
        limited_markets: Iterable[str] = (),
        most_markets: int = limits.GATE_MARKETS,
    ) -> None:
        self.settings = settings or AdviceSettings()
        self.mode: Mode = mode
        self.counters = Counters()
        self.markets = Markets(most_markets)
        self._limited = frozenset(market_key(name.strip()).lower() for name in limited_markets)
        self._kill = "off"
        self._last_ns = 0  # when anything came
        self._bound: bool | None = None  # False: all that ever came was on trial; None: nothing did
        self._stale_ns = int(self.settings.stale_s * NS_PER_S)

    def heard(self, instrument: str, ns: int) -> None:
        """Data of an instrument came at `ns`. Cheap: for every event."""
        market = self.markets.of(instrument)
        self._last_ns = max(self._last_ns, ns)
        if ns > market.heard_ns and sees(market, instrument):
            market.heard_ns = ns

    def on_kill(self, state: str) -> None:
        """The kill switch is `on`, `off`, or anything else: unreadable."""
        self._kill = state if state in ("on", "off") else "unknown"

    def fold(self, outputs: Iterable[Output], now_ns: int, *, shadow: bool = False) -> None:
        """Take outputs in, in order. `shadow`: they were published on trial and bind nobody."""
        for output in outputs:
            if isinstance(output, Report):
                self._report(output, now_ns, shadow=shadow)
            elif isinstance(output, Alert):
                self._alert(output, now_ns, shadow=shadow)
            elif isinstance(output, Fault):
                self._fault(output, now_ns)
            elif isinstance(output, Suppressed):
                self._suppressed(output, now_ns)
            elif isinstance(output, Resolved):
                self._resolved(output)

    def check(self, market: str, now_ns: int) -> Advice:
        """May a strategy enter `market` (an instrument, a condition id, a slug) at `now_ns`?"""
        found = self.markets.find(market)
        if found is None:
            blind = [*self._killed(), *self._silent(now_ns)]
            judged = strictest([*blind, self._safe(Reason.UNKNOWN_MARKET)])
            asked, on_trial = Market(clean(market)), self._bound is False
            advice = self._advice(asked, judged, now_ns, shadow=on_trial)
        else:
            advice = self._judge(found, now_ns)
        self.counters.answers[advice.judged] += 1
        return advice

    def standing(self, now_ns: int) -> list[Advice]:
        """Advice for every market that is not simply allowed."""
        every = (self._judge(market, now_ns) for market in self.markets.tradable())
        return [advice for advice in every if advice.judged != "allow"]

    def _judge(self, market: Market, now_ns: int) -> Advice:
        source = self.markets.seen(f"{market.source}:*")
        both = (market,) if source is None else (market, source)
        marks = [mark for one in both for mark in (one.block, one.widen) if mark is not None]
        # In the order in which they are told: of several as strict, the first.
        found = self._killed()
        found += [mark for mark in marks if mark.until_ns > now_ns]
        found += self._silent(now_ns)
        found += [stale for one in both if (stale := self._stale(one, now_ns)) is not None]
        if market.unready:
            why = Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE
            found.append(Judgement("widen", str(why), REASONS[why].meaning, None, market.unready))
        return self._advice(market, strictest(found), now_ns, shadow=market.shadow)

    def _advice(self, market: Market, judged: Judgement, now_ns: int, *, shadow: bool) -> Advice:
        names = {market.key.lower(), *_names(market.name), *map(str.lower, market.instruments)}
        limited = not self._limited.isdisjoint(names)
        action, would = told(judged.action, self.mode, limited=limited, shadow=shadow)
        heard = market.heard_ns
        return Advice(
            market=market.key,
            name=market.name,
            action=action,
            shadow=would,
            reason=judged.reason,
            detail=judged.detail,
            score=judged.score,
            data_age_s=max(0, now_ns - heard) / NS_PER_S if heard else None,
            at_ns=now_ns,
            expires_at_ns=expiry_ns(judged, self.settings, now_ns, heard + self._stale_ns),
            pause=self.settings.auto_pause_strategies if action == "block" else (),
            evidence=judged.evidence,
            mode="shadow_only" if shadow else self.mode,
        )

    def _killed(self) -> list[Judgement]:
        if self._kill == "off":
            return []
        return [self._safe(Reason.KILL_SWITCH_ACTIVE, _KILLED[self._kill])]

    def _silent(self, now_ns: int) -> list[Judgement]:
        if now_ns - self._last_ns <= self._stale_ns:
            return []
        return [self._safe(Reason.SERVICE_SILENT)]

    def _safe(self, why: Reason, detail: str = "") -> Judgement:
        """The safe side, because nothing can be seen."""
        return Judgement(self.settings.safe_side, str(why), detail or REASONS[why].meaning)

    def _stale(self, market: Market, now_ns: int) -> Judgement | None:
        # A silence is over when something is heard; the rest when it is said.
        why = [
            text
            for kind, (since_ns, text) in market.flags.items()
            if kind != "silence" or market.heard_ns <= since_ns
        ]
        if not why:
            if is_source(market.key) or now_ns - market.heard_ns <= self._stale_ns:
                return None
            why = ["No data for longer than they stay current."]
        return self._safe(Reason.STALE_DATA, why[0])

    def _report(self, report: Report, now_ns: int, *, shadow: bool) -> None:
        made_ns = report.emitted_at_ms * NS_PER_MS
        market = self._take(report.instrument, made_ns, now_ns, shadow=shadow)
        if sees(market, report.instrument):
            market.heard_ns = max(market.heard_ns, min(made_ns, now_ns))
        self.markets.name(market, report.market)
        unready = str(Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE) in report.warnings
        market.unready = report.report_id if unready else ""
        action: Action = "allow"
        if report.anomaly_detected:
            action = "block"
        elif report.low_confidence:
            action = "widen"
        reason = next(iter(report.warnings), "") or "low_confidence"
        known = next((info for key, info in REASONS.items() if key == reason), None)
        score = max((abs(z) for z in (report.z_price, report.z_vol) if z is not None), default=None)
        text = known.meaning if known else "A borderline deviation from the baseline."
        mark = Judgement(action, clean(reason), text, score, clean(report.report_id))
        self._mark(market, mark, made_ns, now_ns)

    def _alert(self, alert: Alert, now_ns: int, *, shadow: bool) -> None:
        made_ns = alert.ts_alert_ns
        market = self._take(alert.instrument, made_ns, now_ns, shadow=shadow)
        if isinstance(alert.market, str):
            self.markets.name(market, alert.market)
        if alert.cause == "silence":
            market.flags["silence"] = (made_ns, "The feed is silent.")
        elif alert.cause == "resumed":
            market.flags.pop("silence", None)
        action: Action = "widen" if alert.low_confidence else _RAISED.get(alert.severity, "allow")
        cause, text = clean(alert.cause), clean(alert.reason)
        mark = Judgement(action, cause, text, alert.score, clean(alert.id), alert.incident)
        self._mark(market, mark, made_ns, now_ns)

    def _take(self, instrument: str, made_ns: int, now_ns: int, *, shadow: bool) -> Market:
        market = self.markets.of(instrument)
        market.shadow = shadow
        self.counters.folded += 1
        self._last_ns = max(self._last_ns, min(made_ns, now_ns))
        self._bound = bool(self._bound) or not shadow
        return market

    def _mark(self, market: Market, mark: Judgement, made_ns: int, now_ns: int) -> None:
        if mark.action == "allow":
            return
        if now_ns - made_ns > self._stale_ns:
            self.counters.late += 1
            return
        if mark.action == "block":
            market.block = _dated(mark, "block", now_ns, self.settings.block_s)
        market.widen = _dated(mark, "widen", now_ns, self.settings.widen_s)

    def _suppressed(self, output: Suppressed, now_ns: int) -> None:
        if output.what != "alert":
            return
        market = self.markets.of(output.instrument)
        if output.reason == Reason.BUDGET_SPENT:
            text = REASONS[Reason.BUDGET_SPENT].meaning
            mark = Judgement("widen", output.reason, text, output.score)
            self._mark(market, mark, output.ts_ns, now_ns)
        elif output.reason == Reason.ALREADY_SHOWN:
            going_on = market.widen  # its evidence is the alert that was shown
            if going_on is not None and going_on.reason == output.cause:
                self._mark(market, replace(going_on, action="widen"), output.ts_ns, now_ns)

    def _resolved(self, output: Resolved) -> None:
        market = self.markets.of(output.instrument)
        if market.block is not None and market.block.incident == output.incident:
            market.block = None
        if market.widen is not None and market.widen.incident == output.incident:
            market.widen = None

    def _fault(self, fault: Fault, now_ns: int) -> None:
        if fault.kind == "listed" and fault.instrument:
            self.markets.name(self.markets.of(fault.instrument), fault.detail)
            return
        flag, clear = _FLAGGED.get(fault.kind), _CLEARED.get(fault.kind)
        if flag is None and clear is None:
            return
        if fault.kind.startswith("link_") and fault.stream != "ws":
            return  # of several sockets and services, the venue says what it means
        self._last_ns = max(self._last_ns, min(fault.ts_ns, now_ns))
        market = self.markets.of(fault.instrument or whole(f"{fault.source}:"))
        if flag is not None:
            market.flags[flag] = (fault.ts_ns, clean(fault.detail) or f"The data are {flag}.")
        elif clear is not None:
            market.flags.pop(clear, None)


def _dated(mark: Judgement, action: Action, ns: int, for_s: float) -> Judgement:
    return replace(mark, action=action, until_ns=ns + int(for_s * NS_PER_S))


def _names(name: str) -> tuple[str, str]:
    lowered = name.lower()
    return lowered, lowered.partition(NAME_JOIN)[0]
