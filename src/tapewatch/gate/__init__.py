"""The gate: what is shown to people, and what strategies are told before they enter a market.

For programs that use tapewatch, three lines:

    from tapewatch.gate import HttpGate
    gate = HttpGate("http://127.0.0.1:8415")
    if gate.check("will-it-rain-tomorrow").action == "block": ...  # keep the ladder as it is

`Advisor` judges in the process that makes the outputs. `HttpGate` asks a running `tapewatch serve`;
`RedisGate` and `NatsGate` read the bus and judge here. Those three live in `tapewatch.sdk` and are
imported when they are named: this package must not know sockets (docs/adr/0021-gate-sdk.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tapewatch.gate.advice import Action, Advice, AdviceSettings, Mode
from tapewatch.gate.advisor import Advisor

if TYPE_CHECKING:
    from tapewatch.sdk.http_gate import HttpGate
    from tapewatch.sdk.nats_gate import NatsGate
    from tapewatch.sdk.redis_gate import RedisGate

__all__ = [
    "Action",
    "Advice",
    "AdviceSettings",
    "Advisor",
    "HttpGate",
    "Mode",
    "NatsGate",
    "RedisGate",
]

_CLIENTS: Final = {
    "HttpGate": "tapewatch.sdk.http_gate",
    "NatsGate": "tapewatch.sdk.nats_gate",
    "RedisGate": "tapewatch.sdk.redis_gate",
}


def __getattr__(name: str) -> Any:
    where = _CLIENTS.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(where), name)
