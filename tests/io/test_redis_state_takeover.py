"""One process ends, another begins from Redis: engines, mirror and tape records together."""

import msgspec
import redis
from redis_kit import StoppedClock, guarded

from servers import redis_server
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.io.inbox import Inbox
from tapewatch.io.redis_state import RedisSettings, RedisState
from tapewatch.io.tape_records import content, header, input_of, line, record_of
from tapewatch.model.inputs import Command, Frame, Input, Timer
from tapewatch.model.outputs import Observation, Output
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Ndjson, Row, TradeRow

MARKETS = tuple(f"polymarket:0x{number:064x}" for number in range(300))
T0 = 1_763_700_000 * NS_PER_S


class Process:
    """An engine with its mirror; `tape` is what it was given."""

    def __init__(self, url: str, now_ns: int) -> None:
        self.engine = Engine([Ndjson(ids=MARKETS)], [ZScore(cycle_s=30.0)])
        self.clock, self.inbox = StoppedClock(), Inbox()
        self.clock.ns = now_ns
        self.tape: list[Input] = []
        keyed = self.engine.detectors["zscore"]
        settings = RedisSettings(url=url)
        self.mirror = RedisState(
            settings,
            keyed.detector,
            keyed.states,
            self.inbox,
            self.clock,  # type: ignore[arg-type]
        )

    def step(self, items: list[Input]) -> list[Output]:
        self.tape += items
        return [output for item in items for output in self.engine.step(item)]

    async def commands(self) -> list[Input]:
        found: list[Input] = []
        while len(self.inbox):
            found += await self.inbox.drain()
        return found

    def cycles(self, number: int, price: float | None = None) -> list[Observation]:
        """Observations of the last of so many cycles."""
        outputs: list[Output] = []
        for turn in range(number):
            self.clock.ns += 30 * NS_PER_S
            at = self.clock.ns
            for market in MARKETS:
                row = Row(trade=TradeRow(market, at, price or (0.61, 0.62, 0.63)[turn % 3], 1.0))
                self.step([Frame(at, "ndjson", msgspec.json.encode(row))])
            outputs = self.step([Timer(at)])
        return [o for o in outputs if isinstance(o, Observation)]


def through_the_tape(items: list[Input]) -> list[Input]:
    """The same inputs, written and read again."""
    records = [line(record_of(n, item)) for n, item in enumerate(items, 1)]
    data = b"\n".join([line(header({}, "0", 1, 1, bytes(32))), *records]) + b"\n"
    return [input_of(record) for record in content(data).body if not hasattr(record, "a")]


def test_a_second_process_sees_at_once_what_the_first_would_have_seen() -> None:
    async def scenario() -> None:
        with redis_server() as server, redis.Redis.from_url(server.url) as operator:
            one = Process(server.url, T0)
            one.cycles(125)
            await one.mirror.checkpoint()
            two = Process(server.url, one.clock.ns)
            assert await two.mirror.restore(set(MARKETS).__contains__) == len(MARKETS)
            assert two.step(await two.commands()) == []
            first, second = one.cycles(1, 0.66), two.cycles(1, 0.66)
            assert len(first) == len(second) == len(MARKETS)
            assert all(seen.ready and seen.score >= seen.line for seen in second)
            for left, right in zip(first, second, strict=True):
                assert abs(left.contributions[0].score - right.contributions[0].score) < 1e-9
                assert left.baseline_count == right.baseline_count
            # What a replay of the second one's tape says, without a Redis.
            again = Engine([Ndjson(ids=MARKETS)], [ZScore(cycle_s=30.0)])
            told = [o for item in through_the_tape(two.tape) for o in again.step(item)]
            assert [o for o in told if isinstance(o, Observation)] == second
            # An operator resets one market: it is forgotten, and warms up alone.
            operator.delete(f"baseline:0x{7:064x}")
            await one.mirror.checkpoint()
            orders = [i for i in await one.commands() if isinstance(i, Command)]
            assert [(i.op, i.argument) for i in orders] == [("reset_baseline", MARKETS[7])]
            one.step(list(orders))
            assert [o.instrument for o in one.cycles(1) if not o.ready] == [MARKETS[7]]

    guarded(scenario())
