"""`tapewatch gate` and `tapewatch health` against a running interface."""

import asyncio
import json
import pathlib
import sys
from collections.abc import Callable

import pytest
from api_kit import GUARD_S, SLUG, World

GONE = "http://127.0.0.1:1"


async def command(*args: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tapewatch",
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def said(folder: pathlib.Path, change: Callable[[World], None], *args: str) -> tuple[int, str, str]:
    """What the command says to a world after `change`; URL stands for its address."""

    async def scenario() -> tuple[int, str, str]:
        world = World(folder)
        change(world)
        async with asyncio.timeout(GUARD_S), world.serving() as url:
            return await command(*(url if arg == "URL" else arg for arg in args))

    return asyncio.run(scenario())


def nothing(_: World) -> None: ...


def kill(world: World) -> None:
    world.advisor.on_kill("on")


def lose_redis(world: World) -> None:
    world.facts.redis = "down"


@pytest.mark.parametrize(("change", "code", "word"), [(nothing, 0, "allow"), (kill, 3, "block")])
def test_gate_check_says_it_in_words_and_by_its_exit_code(
    tmp_path: pathlib.Path, change: Callable[[World], None], code: int, word: str
) -> None:
    got, out, _ = said(tmp_path, change, "gate", "check", SLUG, "--url", "URL")
    assert (got, word in out, "will-it-rain · Yes" in out) == (code, True, True)


def test_gate_check_for_programs(tmp_path: pathlib.Path) -> None:
    _, out, _ = said(tmp_path, nothing, "gate", "check", SLUG, "--url", "URL", "--json")
    assert json.loads(out)["schema"] == "tapewatch.advice/1"


def test_gate_watch_tells_what_stands(tmp_path: pathlib.Path) -> None:
    code, out, _ = said(tmp_path, kill, "gate", "watch", "--once", "--url", "URL")
    assert (code, out.count("KILL_SWITCH_ACTIVE")) == (0, 1)
    assert said(tmp_path, nothing, "gate", "watch", "--once", "--url", "URL")[:2] == (0, "")


@pytest.mark.parametrize(
    ("change", "code", "word"), [(nothing, 0, "green"), (lose_redis, 1, "Redis")]
)
def test_health_says_it_in_words_and_by_its_exit_code(
    tmp_path: pathlib.Path, change: Callable[[World], None], code: int, word: str
) -> None:
    got, out, _ = said(tmp_path, change, "health", "URL")
    assert (got, word in out) == (code, True)
    assert json.loads(said(tmp_path, change, "health", "URL", "--json")[1])["redis"]


@pytest.mark.parametrize(
    "args",
    [("gate", "check", "m", "--url", GONE), ("gate", "watch", "--url", GONE), ("health", GONE)],
)
def test_no_service_is_69_with_words(args: tuple[str, ...]) -> None:
    code, out, err = asyncio.run(command(*args))
    assert code == 69
    assert "Cannot reach 127.0.0.1:1" in err
    assert "Traceback" not in err
    assert ("block" in out) == ("check" in args)
