"""Which buses, which topics, and who may hear what: settings of publishing.

Addresses may hold passwords. Nothing here, and nothing that is derived from here, shows more of
one than its scheme, host and port.
"""

import re
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from tapewatch.gate.advice import Mode
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, Report

SHADOW: Final = ".shadow"  # ends the names of topics that bind nobody
SCHEMES: Final = ("nats", "tls", "redis", "rediss", "kafka", "kafkas")
EXAMPLES: Final = "nats://host:port, redis://host:port or kafka://host:port"
STRICTNESS: Final[tuple[Mode, ...]] = ("shadow_only", "limited_live", "general_live")
_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")  # legal on all three
_INSTANCE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

Seconds = Annotated[float, Meta(gt=0.0)]


class BusSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Publishing reports and alerts on buses.

    `publish_to` are addresses: nats://host:port, redis://host:port (rediss:// with TLS) or
    kafka://host:port. Reports go to `topic` and alerts to `alerts_topic`; with .shadow at the end
    while the mode is shadow_only, and in limited_live for all but the `limited_markets` (ids of
    instruments or conditions). `instance` names this service in every event; replicas of one
    service have the same. `buffer` is how many sampled normal reports wait for a bus that is
    down; anomalies always wait. Redis and NATS keep at most `keep_messages`, NATS none older than
    `keep_s`, and NATS tells duplicates within `duplicate_window_s`. What another replica has
    claimed is left to it for `claim_grace_s`; Redis remembers claims for `claim_ttl_s`.
    """

    publish_to: tuple[str, ...] = ()
    topic: str = "polytraders.reports.observation"
    alerts_topic: str = "tapewatch.alerts"
    instance: str = "main"
    limited_markets: tuple[str, ...] = ()
    buffer: Annotated[int, Meta(ge=0)] = limits.OUTBOX_SAMPLED
    keep_messages: Annotated[int, Meta(gt=0)] = 1_000_000
    keep_s: Seconds = 30 * 86_400.0
    duplicate_window_s: Seconds = 600.0
    claim_grace_s: Seconds = 2.0
    claim_ttl_s: Seconds = 600.0

    def __post_init__(self) -> None:
        names = [address_name(url, number) for number, url in enumerate(self.publish_to, 1)]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"publish_to has {name} twice")
        for field in ("topic", "alerts_topic"):
            topic = getattr(self, field)
            if _TOPIC.fullmatch(topic) is None or len(topic) > limits.TEXT_CHARS:
                raise ConfigError(f"{field} is made of letters, digits, - and _, with dots between")
        if self.topic == self.alerts_topic:
            raise ConfigError("alerts_topic must differ from topic")
        if _INSTANCE.fullmatch(self.instance) is None:
            raise ConfigError("instance is a name of letters, digits, dots, - and _")
        if self.claim_ttl_s <= self.claim_grace_s:
            raise ConfigError("claim_ttl_s must be longer than claim_grace_s")

    @property
    def topics(self) -> tuple[str, ...]:
        """All that is published on, whatever the mode."""
        live = (self.topic, self.alerts_topic)
        return (*live, *(f"{topic}{SHADOW}" for topic in live))


def topic_of(settings: BusSettings, mode: Mode, output: Alert | Report) -> str:
    """Where `output` goes in `mode`: to strategies, or to where it binds nobody."""
    topic = settings.alerts_topic if isinstance(output, Alert) else settings.topic
    live = mode == "general_live" or (mode == "limited_live" and _limited(settings, output))
    return topic if live else f"{topic}{SHADOW}"


def stricter(one: str, other: Mode) -> Mode:
    """Of two modes the one that lets less out; what is no mode counts for nothing."""
    return next((mode for mode in STRICTNESS if mode in (one, other)), other)


def market_of(output: Alert | Report) -> str:
    """The market of an output without its venue, so that all outcomes of a market have one."""
    return output.instrument.partition(":")[2].partition("/NO")[0].lower()


def _limited(settings: BusSettings, output: Alert | Report) -> bool:
    wanted = {name.lower() for name in settings.limited_markets}
    return bool(wanted & {output.instrument.lower(), market_of(output)})


def address_name(url: str, number: int = 1) -> str:
    """`scheme://host:port/path` without credentials: the sink's name. Raises `ConfigError` for what
    cannot be the address of a bus, without quoting it."""
    parts = split(url)
    if parts is None or "://" not in url:
        raise ConfigError(f"publish_to number {number} is no address; write {EXAMPLES}")
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"publish_to number {number} is no address of a bus; write {EXAMPLES}")
    if not hosts_of(parts):
        raise ConfigError(f"publish_to number {number} names no host; write {EXAMPLES}")
    path = parts.path if re.fullmatch(r"/\d+", parts.path) else ""
    return f"{parts.scheme}://{hosts_of(parts)}{path}"


def hosts_of(parts: SplitResult) -> str:
    """`host:port`, or several with commas between; empty if it is none."""
    hosts = parts.netloc.rpartition("@")[2]
    return hosts if re.fullmatch(r"[A-Za-z0-9.,:_\[\]-]{1,200}", hosts) else ""


def split(url: str) -> SplitResult | None:
    """Parts of an address; None if it has none."""
    try:
        return urlsplit(url)
    except ValueError:
        return None
