"""`tapewatch baseline` against a real Redis and a real HTTP interface."""

import asyncio
import json
import pathlib
from collections.abc import Callable

import aiohttp
import pytest
import redis
from api_kit import MARKET, World, with_api

from servers import redis_server
from tapewatch.app.cli.baseline import baseline
from tapewatch.app.cli.output import Shell
from tapewatch.model.errors import ConfigError, SourceError

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def runs(*args: str) -> tuple[str, str]:
        baseline.main(list(args), "baseline", obj=Shell(), standalone_mode=False)
        said = capsys.readouterr()
        return said.out, said.err

    return runs


def test_redis(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server, redis.Redis.from_url(server.url) as operator:
        monkeypatch.setenv("TAPEWATCH_REDIS__URL", server.url)
        fields = {"rolling_mean_price": "0.62", "baseline_sample_count": "120", "window": "x"}
        operator.hset("baseline:0xab", mapping=fields)
        out, _ = run("show", "0xAB")
        assert out == "rolling_mean_price     0.62\nbaseline_sample_count  120\n"
        out, _ = run("show", "polymarket:0xab", "--json")
        assert json.loads(out)["baseline_sample_count"] == "120"
        _, err = run("reset", "0xab", "--redis")
        assert "polymarket:0xab is deleted" in err
        assert operator.exists("baseline:0xab") == 0
        for args in (("reset", "0xab", "--redis"), ("show", "0xab"), ("show", "kraken:x")):
            with pytest.raises(ConfigError, match="Redis has no baseline of"):
                run(*args)
        server.kill()
        with pytest.raises(SourceError, match="refused or lost the connection"):
            run("show", "0xab")


def test_without_a_redis_or_a_token(run: Run) -> None:
    with pytest.raises(ConfigError, match="no Redis is configured"):
        run("show", "0xab")
    with pytest.raises(ConfigError, match="name its --token-file"):
        run("reset", "0xab")
    with pytest.raises(ConfigError, match="cannot read"):
        run("reset", "0xab", "--token-file", "nothing")


def test_a_service(run: Run, tmp_path: pathlib.Path) -> None:
    token, wrong = tmp_path / "token", tmp_path / "wrong"
    wrong.write_text("x" * 30)

    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        token.write_text(f"{world.token}\n")
        at = ("--url", url, "--token-file")
        _, err = await asyncio.to_thread(run, "reset", "will-it-rain", *at, str(token))
        assert MARKET in err
        assert [(c.op, c.argument) for c in world.commands] == [("reset_baseline", MARKET)]
        with pytest.raises(ConfigError, match="404"):
            await asyncio.to_thread(run, "reset", "what", *at, str(token))
        with pytest.raises(ConfigError, match="401"):
            await asyncio.to_thread(run, "reset", "will-it-rain", *at, str(wrong))

    with_api(tmp_path, job)
    with pytest.raises(SourceError, match="connection refused"):
        run("reset", "x", "--url", "http://127.0.0.1:9", "--token-file", str(token))
