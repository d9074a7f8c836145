"""The maker of bot 4.15's worked example, as it is shipped, behind the gate in one process."""

import pathlib
import runpy
from typing import Any

import pytest
from test_worked_example import ID, STEP_MS, T0, TICK_AT, example

from tapewatch.app.build import engine_of
from tapewatch.app.config import assemble, set_option
from tapewatch.gate import Advisor, Mode
from tapewatch.model.inputs import Frame
from tapewatch.model.time import NS_PER_MS, NS_PER_S

MAKER: Any = runpy.run_path(
    str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "maker.py")
)["Maker"]


class Replay:
    """The example's inputs through the whole engine; the maker sees each price after the gate."""

    def __init__(self, mode: Mode) -> None:
        chosen = [f"source.ndjson.ids={ID}", "detector.zscore.enabled=true"]
        config, _ = assemble([set_option(option) for option in chosen])
        engine = engine_of(config)
        self.advisor = Advisor(mode=mode)
        self.now = T0
        self.maker = MAKER(ID, lambda market: self.advisor.check(market, self.now))
        self.before: tuple[Any, ...] = ()
        self.on_tick: Any = None
        self.ladders: list[tuple[int, tuple[Any, ...]]] = []
        for item in example():
            self.now = item.ts_recv
            if self.now > TICK_AT + 30 * NS_PER_S:
                break
            self.advisor.fold(engine.step(item), self.now)
            for event in engine.events:
                if getattr(event, "instrument", "") == ID and hasattr(event, "price"):
                    self.advisor.heard(ID, self.now)
            if isinstance(item, Frame):
                self.quote(item)

    def quote(self, frame: Frame) -> None:
        price = float(frame.data.partition(b'"price":')[2].partition(b",")[0])
        if frame.ts_recv == TICK_AT:
            self.before = self.maker.ladder
        advice = self.maker.on_mid(price)
        if frame.ts_recv == TICK_AT:
            self.on_tick = advice
        self.ladders.append((frame.ts_recv, self.maker.ladder))


@pytest.fixture(scope="module")
def live() -> Replay:
    return Replay("general_live")


def test_the_ladder_stays_where_it_was_when_the_wrong_tick_comes(live: Replay) -> None:
    assert live.on_tick.action == "block"
    assert live.before != ((), ())
    ten = [ladder for ns, ladder in live.ladders if TICK_AT <= ns < TICK_AT + 10 * NS_PER_S]
    assert len(ten) > 4_000 // STEP_MS - 5
    assert set(ten) == {live.before}


def test_no_rung_is_ever_quoted_around_the_wrong_price(live: Replay) -> None:
    assert all(max(bids, default=0.0) < 0.7 for _, (bids, _) in live.ladders)


def test_afterwards_it_quotes_again_wider_at_first(live: Replay) -> None:
    assert live.ladders[-1][0] > TICK_AT + 29 * NS_PER_S
    bids, asks = live.ladders[-1][1]
    assert 0.03 <= asks[0] - bids[0] <= 0.05


def test_in_shadow_mode_it_is_told_what_would_have_been_and_walks_into_it() -> None:
    """The bot without its authority: the comparison that the example makes."""
    shadow = Replay("shadow_only")
    assert (shadow.on_tick.action, shadow.on_tick.shadow) == ("allow", "block")
    assert max(bids[0] for _, (bids, _) in shadow.ladders if bids) > 0.85
    assert shadow.on_tick.expires_at_ns - shadow.on_tick.at_ns <= 10_000 * NS_PER_MS
