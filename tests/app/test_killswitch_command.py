"""`tapewatch killswitch status` where the switch is in several places."""

import json
import pathlib

import pytest
import redis

from servers import redis_server
from tapewatch.app.cli.killswitch import killswitch
from tapewatch.app.cli.output import Shell


def test_every_place_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> str:
        killswitch.main(list(args), "killswitch", obj=Shell(), standalone_mode=False)
        return capsys.readouterr().out

    with redis_server() as server, redis.Redis.from_url(server.url) as operator:
        monkeypatch.setenv("TAPEWATCH_KILL_SWITCH__REDIS_URL", server.url)
        assert run("status") == "off\n  file   off\n  redis  off\n"
        operator.set("killswitch", '{"active": true, "actor": "risk", "reason": "limit\\u001b"}')
        assert run("status") == "on\n  file   off\n  redis  on   risk: limit·\n"
        server.kill()
        found = json.loads(run("status", "--json"))
        assert found["state"] == "unknown"
        assert found["places"][1]["state"] == "unknown"
        assert "refused or lost the connection" in found["places"][1]["why"]
