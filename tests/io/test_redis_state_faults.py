"""A real Redis that is lost, stopped, emptied, full, read-only or closed to us: the session goes
on, says so once, and writes everything again when it is back."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import redis
from redis_kit import Session, client, guarded

from servers import Server, redis_server
from tapewatch.model.inputs import Command

QUICK_S = 0.3  # an answer's deadline where none will come


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server("--appendfsync", "always") as one:
        yield one


async def told_once(session: Session, why: str) -> None:
    """Two rounds fail, the first is told, and nothing was forgotten or ordered."""
    for _ in range(2):
        session.live("0xab", "0xcd")
        await session.mirror.checkpoint()
    assert why in session.mirror.trouble
    assert session.mirror.reachable is False
    assert session.mirror.counters.failures == 2
    (link,) = await session.links()
    assert link[0] == "down"
    assert link[1] == f"{session.mirror.trouble}; baselines stay in memory and are written later"


async def back(session: Session, operator: "redis.Redis") -> None:
    """The next round writes everything, says so, and takes nothing for an order."""
    await session.mirror.checkpoint()
    assert (session.mirror.trouble, session.mirror.reachable) == ("", True)
    told = await session.told()
    assert [getattr(item, "state", item) for item in told] == ["up"]
    samples = str(len(session.states["polymarket:0xab"].prices.times)).encode()
    for name in ("baseline:0xab", "baseline:0xcd"):
        assert operator.hget(name, "baseline_sample_count") == samples
        assert operator.hexists(name, "window")


async def begun(server: Server) -> Session:
    session = Session(server.url, timeout_s=QUICK_S)
    session.live("0xab", "0xcd", cycles=40)
    await session.mirror.checkpoint()
    assert await session.links() == [("up", "")]
    return session


def test_killed_and_started_again(server: Server) -> None:
    async def scenario() -> None:
        session = await begun(server)
        server.kill()
        await told_once(session, "refused or lost the connection")
        server.restart()
        with client(server.url) as operator:
            await back(session, operator)
            operator.delete("baseline:0xab")
            await session.mirror.checkpoint()
            assert await session.orders() == ["0xab"]

    guarded(scenario())


def test_started_again_with_nothing(server: Server) -> None:
    async def scenario() -> None:
        session = await begun(server)
        with client(server.url) as operator:
            operator.flushall()
        server.restart()
        with client(server.url) as operator:
            # The lost connection spoils a round, or is noticed as such and spoils none.
            await session.mirror.checkpoint()
            await session.mirror.checkpoint()
            assert operator.exists("baseline:0xab", "baseline:0xcd") == 2
            assert not any(isinstance(item, Command) for item in await session.told())

    guarded(scenario())


def test_stopped_it_holds_nobody_up(server: Server) -> None:
    async def scenario() -> None:
        session = await begun(server)
        server.process.send_signal(signal.SIGSTOP)
        try:
            round_ = asyncio.create_task(session.mirror.checkpoint())
            turns = 0
            while not round_.done() and turns < 1_000:
                await asyncio.sleep(0)
                turns += 1
            assert turns == 1_000  # the loop had its turns while the thread waited
            await round_
            assert f"does not answer within {QUICK_S:g} s" in session.mirror.trouble
            await session.mirror.checkpoint()
            assert [state for state, _ in await session.links()] == ["down"]
        finally:
            server.process.send_signal(signal.SIGCONT)
        with client(server.url) as operator:
            await back(session, operator)

    guarded(scenario())


def test_an_answer_that_comes_late_is_not_taken_for_another(server: Server) -> None:
    async def scenario() -> None:
        session = await begun(server)
        with client(server.url) as operator:
            operator.execute_command("CLIENT", "PAUSE", 1_000)
            session.live("0xab", "0xcd")
            await session.mirror.checkpoint()
            assert "does not answer" in session.mirror.trouble
            await session.links()
            operator.execute_command("CLIENT", "UNPAUSE")
            await back(session, operator)
            for _ in range(3):
                session.live("0xab", "0xcd")
                await session.mirror.checkpoint()
                assert await session.told() == []

    guarded(scenario())


def _full(operator: "redis.Redis") -> Callable[[], None]:
    operator.config_set("maxmemory", 1)
    return lambda: operator.config_set("maxmemory", 0) and None


def _replica(operator: "redis.Redis") -> Callable[[], None]:
    operator.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: operator.execute_command("REPLICAOF", "NO", "ONE") and None


def _closed(operator: "redis.Redis") -> Callable[[], None]:
    operator.config_set("requirepass", "another")
    operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return lambda: operator.config_set("requirepass", "") and None


def _denied(operator: "redis.Redis") -> Callable[[], None]:
    operator.execute_command("ACL", "SETUSER", "default", "-@scripting")
    return lambda: operator.execute_command("ACL", "SETUSER", "default", "+@scripting") and None


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_full, "is full"),
        (_replica, "is read-only"),
        (_closed, "refuses our name or password"),
        (_denied, "does not allow us the commands"),
    ],
)
def test_it_takes_no_writes(
    server: Server, spoil: Callable[["redis.Redis"], Callable[[], None]], why: str
) -> None:
    async def scenario() -> None:
        session = await begun(server)
        with client(server.url) as operator:
            mend = spoil(operator)
            session.mirror.counters.failures = 0
            await session.links()
            await told_once(session, why)
            mend()
            await back(session, operator)

    guarded(scenario())


def test_a_wrong_password_is_never_shown(server: Server) -> None:
    async def scenario() -> None:
        with client(server.url) as operator:
            operator.config_set("requirepass", "right")
        url = server.url.replace("redis://", "redis://:wrong-secret@")
        session = Session(url)
        session.live("0xab")
        assert await session.mirror.restore() == 0
        await session.mirror.checkpoint()
        assert "refuses our name or password" in session.mirror.trouble
        assert f"127.0.0.1:{server.port}" in session.mirror.trouble
        assert "secret" not in session.mirror.trouble
        assert [state for state, _ in await session.links()] == ["down"]

    guarded(scenario())


def test_the_end_does_not_wait_for_a_server_that_hangs(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapewatch.io.redis_state.CLOSE_S", 0.05)

    async def scenario() -> None:
        session = await begun(server)
        server.process.send_signal(signal.SIGSTOP)
        session.live("0xab", "0xcd")
        await session.mirror.close()
        assert session.mirror.counters.failures == 1

    guarded(scenario())


def test_it_runs_at_its_pace_and_ends_when_told(server: Server) -> None:
    async def scenario() -> None:
        session = Session(server.url, every_s=1.0)
        session.live("0xab")
        running = asyncio.create_task(session.mirror.run())
        await session.inbox.drain()  # it is up
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await session.mirror.close()
        assert [reason for _, reason in await session.links()] == ["stopped"]

    guarded(scenario())


def test_a_user_who_may_no_more_than_is_documented(server: Server) -> None:
    allowed = (
        "+eval +evalsha +script +hset +hget +hmget +hstrlen +pexpire +exists +get +set +del +scan"
    )
    keys = "~baseline:* ~tapewatch:baselines"

    async def scenario() -> None:
        with client(server.url) as operator:
            rule = f"on >long-password {keys} {allowed}".split()
            operator.execute_command("ACL", "SETUSER", "watcher", *rule)
            url = server.url.replace("redis://", "redis://watcher:long-password@")
            session = Session(url)
            session.live("0xab", "0xcd", cycles=40)
            await session.mirror.checkpoint()
            assert session.mirror.trouble == ""
            operator.delete("baseline:0xab")
            await session.mirror.checkpoint()
            assert await session.orders() == ["0xab"]
            del session.states["polymarket:0xcd"]
            await session.mirror.checkpoint()
            assert session.mirror.trouble == ""
            assert operator.exists("baseline:0xcd") == 0
            session.live("0xef")
            await session.mirror.checkpoint()
            assert await Session(url).mirror.restore() == 1

    guarded(scenario())
