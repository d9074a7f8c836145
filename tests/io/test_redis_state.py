"""The mirror of baselines in a real Redis: its shape, orders by deletion, and the way back."""

from collections.abc import Iterator

import msgspec
import pytest
import redis
from redis_kit import S2, Session, client, guarded

from servers import Server, redis_server
from tapewatch.io.redis_state import HOLD, RedisSettings
from tapewatch.io.redis_state_client import CHUNK, SENTINEL, instrument_of, key_of
from tapewatch.kernels.windows import Window, count, spread
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Baseline, Command
from tapewatch.model.time import NS_PER_MS


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server() as one:
        yield one


@pytest.fixture
def operator(server: Server) -> Iterator["redis.Redis"]:
    """A connection to an empty Redis."""
    with client(server.url) as one:
        one.flushall()
        one.script_flush()
        yield one


def test_the_shape_of_the_specification(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        session = Session(server.url)
        session.live("0xab", cycles=200)
        session.states["kraken:BTC/USD"] = S2.start("kraken:BTC/USD")  # has no samples yet
        await session.mirror.checkpoint()
        state = session.states["polymarket:0xab"]
        found = operator.hgetall("baseline:0xab")
        anchor, offset, std = spread(state.prices, 0)
        assert float(found[b"rolling_mean_price"]) == anchor + offset
        assert float(found[b"rolling_std_price"]) == std
        assert found[b"rolling_mean_vol"] == b"0.0"
        assert found[b"rolling_std_vol"] == b"0.0"
        assert int(found[b"baseline_sample_count"]) == count(state.prices) == 121
        assert int(found[b"last_updated_at_ms"]) == state.cycle_ns // NS_PER_MS
        assert 86_000 < operator.ttl("baseline:0xab") <= 86_400
        assert sorted(operator.keys()) == [b"baseline:0xab", SENTINEL.encode()]
        usage = operator.memory_usage("baseline:0xab", samples=0)
        assert usage < 4_096  # "~3 KB per tracked market"
        assert await session.links() == [("up", "")]
        await session.mirror.close()

    guarded(scenario())


def test_only_what_is_new_is_written_and_windows_less_often(
    server: Server, operator: "redis.Redis"
) -> None:
    async def scenario() -> None:
        session = Session(server.url, window_every_s=3_600.0)
        many = [f"0x{number}" for number in range(2 * CHUNK + 1)]
        session.live(*many, cycles=3)
        await session.mirror.checkpoint()
        counters = session.mirror.counters
        assert (counters.written, counters.windows) == (len(many), len(many))
        await session.mirror.checkpoint()
        assert counters.written == len(many)
        session.live("0x7")
        await session.mirror.checkpoint()
        assert (counters.written, counters.windows) == (len(many) + 1, len(many))
        assert operator.hget("baseline:0x7", "baseline_sample_count") == b"4"
        assert await session.orders() == []
        await session.mirror.close()

    guarded(scenario())


def test_deleting_a_key_resets_the_baseline(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        one, two = Session(server.url), Session(server.url)
        for session in (one, two):
            session.live("0xab", "0xcd", cycles=40)
            await session.mirror.checkpoint()
        await one.told()
        operator.delete("baseline:0xab")
        one.live("0xab", "0xcd")  # one has new samples, two has none: both notice
        for session in (one, two):
            await session.mirror.checkpoint()
            command = next(i for i in await session.told() if isinstance(i, Command))
            assert command == Command(
                session.clock.ns, "redis", "reset_baseline", "polymarket:0xab"
            )
        for _ in range(HOLD):
            assert operator.exists("baseline:0xab") == 0
            one.live("0xab", "0xcd")
            await one.mirror.checkpoint()
        await one.mirror.checkpoint()
        assert operator.hget("baseline:0xab", "baseline_sample_count") == b"3"
        assert operator.hget("baseline:0xcd", "baseline_sample_count") == b"44"
        assert await one.orders() == []
        assert one.mirror.counters.resets == 1

    guarded(scenario())


def test_what_is_not_forgotten_yet_is_not_written_again(
    server: Server, operator: "redis.Redis"
) -> None:
    async def scenario() -> None:
        session = Session(server.url)
        session.live("0xab", cycles=40)
        await session.mirror.checkpoint()
        operator.delete("baseline:0xab")
        for _ in range(2 * HOLD):  # the engine has a lot to do and does not come to the command
            session.live("0xab")
            await session.mirror.checkpoint()
        assert operator.exists("baseline:0xab") == 0
        assert await session.orders() == ["0xab"]

    guarded(scenario())


def test_a_reset_from_here_reaches_the_other_replica(
    server: Server, operator: "redis.Redis"
) -> None:
    async def scenario() -> None:
        one, two = Session(server.url), Session(server.url)
        for session in (one, two):
            session.live("0xab", cycles=40)
            await session.mirror.checkpoint()
        del one.states["polymarket:0xab"]
        await one.mirror.checkpoint()
        assert operator.exists("baseline:0xab") == 0
        await two.mirror.checkpoint()
        assert await two.orders() == ["0xab"]
        assert await one.orders() == []

    guarded(scenario())


def test_a_market_that_is_over_leaves_nothing(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        session = Session(server.url)
        session.live("0xab", "0xcd", cycles=40)
        await session.mirror.checkpoint()
        session.states["polymarket:0xab"].prices = Window()
        await session.mirror.checkpoint()
        assert operator.exists("baseline:0xab") == 0
        assert operator.exists("baseline:0xcd") == 1
        assert await session.orders() == []

    guarded(scenario())


def test_a_baseline_that_begins_anew_replaces_the_old_window(
    server: Server, operator: "redis.Redis"
) -> None:
    async def scenario() -> None:
        session = Session(server.url, window_every_s=3_600.0)
        session.live("0xab", cycles=40)
        await session.mirror.checkpoint()
        before = operator.hget("baseline:0xab", "window")
        del session.states["polymarket:0xab"]
        session.live("0xab", cycles=2)
        await session.mirror.checkpoint()
        after = operator.hget("baseline:0xab", "window")
        assert before is not None
        assert after is not None
        assert len(after) < len(before)

    guarded(scenario())


def test_flushing_everything_is_no_order(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        one, two = Session(server.url), Session(server.url)
        for session in (one, two):
            session.live("0xab", "0xcd", cycles=40)
            await session.mirror.checkpoint()
            await session.told()
        operator.flushall()
        await one.mirror.checkpoint()  # writes all again, under a new sentinel
        await two.mirror.checkpoint()
        assert await one.orders() == await two.orders() == []
        assert operator.exists("baseline:0xab", "baseline:0xcd") == 2
        assert operator.hget("baseline:0xab", "baseline_sample_count") == b"40"
        operator.delete("baseline:0xcd")
        await two.mirror.checkpoint()
        assert await two.orders() == ["0xcd"]

    guarded(scenario())


def test_what_expired_is_no_order(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        session = Session(server.url, ttl_s=60.0)
        session.live("0xab", "0xcd", cycles=2)
        await session.mirror.checkpoint()
        operator.delete("baseline:0xab")  # as after a minute
        session.mirror._kept["polymarket:0xab"].written_s -= 61.0
        await session.mirror.checkpoint()
        assert await session.orders() == []

    guarded(scenario())


def test_what_redis_threw_away_is_no_order(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        session = Session(server.url)
        session.live("0xab", cycles=40)
        await session.mirror.checkpoint()
        try:
            operator.config_set("maxmemory-policy", "allkeys-lru")
            operator.config_set("maxmemory", 1)
            with pytest.raises(redis.ResponseError):
                operator.set("x", "y" * 100)
        finally:
            operator.config_set("maxmemory", 0)
            operator.config_set("maxmemory-policy", "noeviction")
        operator.set(SENTINEL, session.mirror._epoch)
        assert operator.exists("baseline:0xab") == 0
        await session.mirror.checkpoint()
        assert await session.orders() == []
        assert session.mirror.counters.evicted == 1
        await session.mirror.checkpoint()
        assert operator.exists("baseline:0xab") == 1

    guarded(scenario())


def test_another_replica_begins_without_a_blind_hour(
    server: Server, operator: "redis.Redis"
) -> None:
    async def scenario() -> None:
        one, two = Session(server.url), Session(server.url)
        one.live("0xab", "0xcd", "0xef", cycles=130)
        await one.mirror.checkpoint()
        two.clock.ns = one.clock.ns
        assert await two.mirror.restore(lambda name: name != "polymarket:0xcd") == 2
        commands = [i for i in await two.inbox.drain() if isinstance(i, Command)]
        assert {command.op for command in commands} == {"baseline"}
        given = msgspec.json.decode(commands[0].argument, type=Baseline)
        assert (given.detector, given.instrument) == ("zscore", "polymarket:0xab")
        back = S2.restore(given.instrument, given.packed, two.clock.ns)
        old = one.states["polymarket:0xab"].prices
        assert back.prices.values == old.values[old.head :]
        assert two.mirror.counters.restored == 2

    guarded(scenario())


def test_what_others_wrote_is_left_out_and_counted(
    server: Server, operator: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BASELINE_BYTES", 1_000)
    monkeypatch.setattr(limits, "BASELINES_BYTES", 2_500)

    async def scenario() -> None:
        operator.set("baseline:text", "x")
        operator.rpush("baseline:list", "x")
        operator.hset("baseline:large", "window", "x" * 1_001)
        operator.hset("baseline:none", "other", "x")
        for number in range(5):
            operator.hset(f"baseline:ok{number}", "window", "x" * 1_000)
        operator.hset("baseline:\xff\x1b[2J", "window", "x")
        session = Session(server.url)
        assert await session.mirror.restore() == 2
        assert session.mirror.counters.refused == 8
        assert session.mirror.trouble == ""
        session.live("text", "list", "large")
        await session.mirror.checkpoint()  # the names are ours: what stood there is replaced
        assert session.mirror.trouble == ""
        for name in ("text", "list", "large"):
            assert operator.hget(f"baseline:{name}", "baseline_sample_count") == b"1"

    guarded(scenario())


@pytest.mark.parametrize("value", ["", "x" * 10_000, "\x00\n"])
def test_a_strange_sentinel_is_no_trouble(
    server: Server, operator: "redis.Redis", value: str
) -> None:
    async def scenario() -> None:
        operator.set(SENTINEL, value)
        session = Session(server.url)
        session.live("0xab")
        await session.mirror.checkpoint()
        operator.delete("baseline:0xab")
        await session.mirror.checkpoint()
        assert await session.orders() == ["0xab"]

    guarded(scenario())


@pytest.mark.parametrize(
    ("instrument", "key"),
    [
        ("polymarket:0xab", "baseline:0xab"),
        ("polymarket:0xab/NO", "baseline:0xab/NO"),
        ("kraken:BTC/USD", "baseline:kraken:BTC/USD"),
    ],
)
def test_names_of_keys(instrument: str, key: str) -> None:
    assert key_of(instrument) == key
    assert instrument_of(key) == instrument


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:6379", "http://x", "redis://", "redis://:secret@", "unix://", "redis://h:x/0"],
)
def test_addresses_are_checked_and_never_quoted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^url: write redis://") as refused:
        RedisSettings(url=url)
    assert "secret" not in str(refused.value)
    assert RedisSettings(url="unix:///run/redis.sock").url
    assert RedisSettings().url == ""
    with pytest.raises(ConfigError, match="would expire"):
        RedisSettings(ttl_s=100.0)


def test_numbers_are_written_as_python_prints_them(server: Server, operator: "redis.Redis") -> None:
    async def scenario() -> None:
        session = Session(server.url)
        session.live("0xab", cycles=4)
        state = session.states["polymarket:0xab"]
        state.prices.anchor, state.prices.sum_1 = 0.1, 0.0
        await session.mirror.checkpoint()
        assert operator.hget("baseline:0xab", "rolling_mean_price") == b"0.1"

    guarded(scenario())
