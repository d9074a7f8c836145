"""The HTTP interface over real connections: what each route says."""

import json
import pathlib

import aiohttp
import pytest
from api_kit import CONDITION, GUARD_S, MARKET, SLUG, World, post, said, with_api

from tapewatch.app.health import Facts
from tapewatch.gate import HttpGate
from tapewatch.io import control
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.reasons import Reason


def test_advice_by_every_name_of_a_market(tmp_path: pathlib.Path) -> None:
    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        for name in (CONDITION, MARKET, f"{MARKET}/NO", MARKET.replace(":", "%3A"), SLUG):
            code, advice = await said(client, f"{url}/v1/gate/{name}")
            assert (code, advice["action"], advice["market"]) == (200, "allow", CONDITION)
        code, advice = await said(client, f"{url}/v1/gate/%1B%5B2J")
        assert (advice["action"], advice["reason"]) == ("block", Reason.UNKNOWN_MARKET)
        assert "\x1b" not in advice["market"]
        assert (await said(client, f"{url}/v1/gate/{'x' * 201}"))[0] == 404

    world = with_api(tmp_path, job)
    (line,) = world.log.path.read_text().splitlines()
    assert json.loads(line)["advice"]["reason"] == Reason.UNKNOWN_MARKET


def test_what_stands_against_markets_and_the_state_of_the_service(tmp_path: pathlib.Path) -> None:
    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        assert (await said(client, f"{url}/v1/gate"))[1]["markets"] == []
        world.advisor.on_kill("on")
        _, standing = await said(client, f"{url}/v1/gate")
        assert [one["reason"] for one in standing["markets"]] == [Reason.KILL_SWITCH_ACTIVE]
        await said(client, f"{url}/v1/gate/{SLUG}")
        await said(client, f"{url}/nowhere")
        _, service = await said(client, f"{url}/v1/status")
        assert service["answers"]["block"] == 1
        assert service["refused"] == {"404": 1}
        assert (service["mode"], service["markets"]) == ("general_live", 1)

    with_api(tmp_path, job)


def test_health_and_readiness_by_status_and_in_words(tmp_path: pathlib.Path) -> None:
    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        where = f"{url}/internal/health/anomalydetector"
        assert (await said(client, f"{url}/healthz"))[1]["alive"] is True
        code, found = await said(client, where)
        assert (code, found["status"], found["reasons"]) == (200, "green", [])
        assert (await said(client, f"{url}/readyz"))[0] == 200
        world.facts.redis = "down"
        code, found = await said(client, where)
        assert (code, found["status"]) == (503, "red")
        world.facts = Facts(started_ns=world.clock.now_ns(), connected=False)
        code, found = await said(client, where)
        assert (code, found["status"]) == (200, "yellow")
        code, found = await said(client, f"{url}/readyz")
        assert (code, found["ready"], len(found["reasons"])) == (503, False, 2)

    with_api(tmp_path, job)


def test_metrics_are_passed_on(tmp_path: pathlib.Path) -> None:
    async def job(_: World, client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(f"{url}/metrics") as response:
            assert await response.read() == b"up 1\n"
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4"

    with_api(tmp_path, job)


def test_the_kill_switch_is_the_file_that_every_session_reads(tmp_path: pathlib.Path) -> None:
    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        where = f"{url}/v1/killswitch"
        found = (await said(client, where))[1]
        assert (found["state"], found["effective"]) == ("off", "off")
        order = b'{"active": true, "reason": "drill", "actor": "risk.kill_switch"}'
        code, found = await post(client, where, world.token, order)
        assert (code, found["state"], found["reason"]) == (200, "on", "drill")
        told = control.read(world.kill_switch)
        assert told is not None
        assert (told.active, told.actor) == (True, "risk.kill_switch")
        await post(client, where, world.token, b'{"active": false}')
        assert (await said(client, where))[1]["state"] == "off"
        world.kill_switch.write_text("gibberish")
        assert (await said(client, where))[1]["state"] == "unknown"

    with_api(tmp_path, job)


def test_a_baseline_is_reset_for_all_instruments_of_a_market(tmp_path: pathlib.Path) -> None:
    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        world.advisor.heard(f"{MARKET}/NO", world.clock.now_ns())
        where = f"{url}/v1/baseline/reset"
        code, found = await post(client, where, world.token, b'{"market": "will-it-rain"}')
        assert (code, found["instruments"]) == (200, [MARKET, f"{MARKET}/NO"])
        assert [(c.op, c.argument) for c in world.commands] == [
            ("reset_baseline", MARKET),
            ("reset_baseline", f"{MARKET}/NO"),
        ]
        assert (await post(client, where, world.token, b'{"market": "what"}'))[0] == 404

    with_api(tmp_path, job)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"active": "yes"}', 400),
        (b'{"active": true, "more": 1}', 400),
        (b'{"active": true, "reason": "' + b"x" * 201 + b'"}', 400),
        (b"[" * 4_000, 400),
        (b"x" * (limits.HTTP_BODY_BYTES + 1), 413),
    ],
)
def test_a_body_of_something_else_changes_nothing(
    tmp_path: pathlib.Path, body: bytes, code: int
) -> None:
    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        got, answer = await post(client, f"{url}/v1/killswitch", world.token, body)
        assert got == code
        assert answer["error"]
        assert not world.kill_switch.exists()

    with_api(tmp_path, job)


def test_a_port_that_is_taken_is_the_users_to_change(tmp_path: pathlib.Path) -> None:
    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        with pytest.raises(ConfigError, match=r"http\.port"):
            async with World(tmp_path).serving(port=int(url.rpartition(":")[2])):
                pass

    with_api(tmp_path, job)


def test_a_strategy_asks_over_http(tmp_path: pathlib.Path) -> None:
    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        async with HttpGate(url, timeout_s=GUARD_S) as gate:
            assert (await gate.ask(SLUG)).action == "allow"
            world.advisor.on_kill("on")
            advice = await gate.ask(MARKET)
            assert (advice.action, advice.reason) == ("block", Reason.KILL_SWITCH_ACTIVE)

    with_api(tmp_path, job)
