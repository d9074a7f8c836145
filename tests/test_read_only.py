"""Property S2-PROP-1 of bot 4.15: it never submits or signs orders.

Four ways to look at it: nothing that could sign is in the dependency tree or imported; requests
leave by known doors only; whatever a venue may ask for is on a list of public, reading calls; and
no text in the code is the path of a trading call.
"""

import ast
import contextlib
import functools
import importlib.metadata
import itertools
import pathlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Ask, StatusKind
from tapewatch.model.inputs import Frame, Link, Timer
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch, Venue
from tapewatch.venues.binance import Binance
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.ndjson import Ndjson
from tapewatch.venues.polygon import Polygon
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_markets import Market

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "tapewatch"
T0 = 1_780_000_000 * NS_PER_S

# What signs transactions, orders or requests to trade, by name of distribution and of module.
SIGNING = {
    "bitcoinlib", "ccxt", "coincurve", "cryptography", "ecdsa", "eth-account", "eth-hash",
    "eth-keyfile", "eth-keys", "eth-utils", "krakenex", "pbkdf2", "poly-eip712-structs",
    "polymarket-client", "py-builder-signing-sdk", "py-clob-client", "py-clob-client-v2",
    "py-order-utils", "pycryptodome", "pycryptodomex", "pynacl", "pysha3", "python-kraken-sdk",
    "secp256k1", "web3",
}  # fmt: skip
SIGNING_MODULES = {name.replace("-", "_") for name in SIGNING} | {"Crypto", "Cryptodome", "nacl"}

# The doors: what may open a connection to somewhere else, and for what.
DOORS = {
    "aiohttp.ClientSession": {
        "app/cli/baseline.py": "our own service is told to forget a baseline",
        "app/cli/health.py": "GET of our own service",
        "io/http.py": "public data of venues: what a Fetch says",
        "sdk/http_gate.py": "GET of our own service",
    },
    "websockets.asyncio.client.connect": {
        "app/doctor.py": "whether venues can be reached; nothing is sent",
        "io/websocket.py": "public data of venues: what a venue subscribes to",
    },
}

# Public calls that read. A path is one of these patterns as a whole, by HTTP method.
READS = {
    "GET": (
        r"/0/public/(Trades|SystemStatus|Time|Depth|AssetPairs)",  # Kraken
        r"/(api/v3|fapi/v1|dapi/v1)/(aggTrades|historicalTrades)",  # Binance
        r"/(midpoint|time|markets(/0x[0-9a-f]+)?)",  # Polymarket: CLOB
        r"/(v2/)?trades",  # Polymarket: Data API
        r"/(markets/keyset|events/keyset|public-search)",  # Polymarket: Gamma
    ),
    "POST": (r"/books", r"/"),  # Polymarket: books of several tokens; Polygon: JSON-RPC
}
RPC_READS = {"eth_blockNumber", "eth_chainId", "eth_getBlockByNumber", "eth_getLogs"}
TRADING = re.compile(
    r"(?i)sendRawTransaction|sendTransaction|eth_sign|signTypedData|private_?key|mnemonic"
    r"|/(post-)?orders?\b|/cancel|/private/|addorder|POLY_(SIGNATURE|API_KEY)|/auth/"
)

MARKET = Market(condition="0x" + "ab" * 32, yes="11", no="22", slug="a-slug", event="an-event")
VENUES: dict[str, tuple[Venue[Any], ...]] = {
    "binance": (Binance(symbols=("BTCUSDT",)), Binance(symbols=("usdm/BTCUSDT",))),
    "kraken": (Kraken(symbols=("BTC/USD",)), Kraken(symbols=("BTC/USD",), protocol="v1")),
    "ndjson": (Ndjson(ids=("ndjson:A/B",)),),
    "polygon": (
        Polygon(markets=(MARKET,)),
        Polygon(markets=(MARKET,), ws_url="wss://node.example"),
    ),
    "polymarket": (
        Polymarket(markets=(MARKET,), symbols=("an-event",)),
        Polymarket(markets=(MARKET,), mode="poll", trades="v1"),
    ),
}
EVERY = [venue for venues in VENUES.values() for venue in venues]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@functools.cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of ours, by its path below the package."""
    return tuple(
        (path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(SOURCE.rglob("*.py"))
    )


def normal(requirement: str) -> str:
    """The name in a requirement, as registries compare names."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def test_s2_prop_1_no_signing_library_is_required() -> None:
    project = pyproject()["project"]
    wanted = [
        *project["dependencies"],
        *itertools.chain(*project["optional-dependencies"].values()),
    ]
    locked = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
        if re.match(r"[A-Za-z0-9]", line)
    ]
    assert len(locked) > 30
    assert {normal(one) for one in (*wanted, *locked)} & SIGNING == set()


def test_s2_prop_1_none_comes_with_what_is_installed() -> None:
    """The tree of what is installed here, with all extras of ours."""
    seen: set[str] = set()
    left = {normal(one) for one in pyproject()["project"]["dependencies"]}
    left |= {"confluent-kafka", "nats-py", "redis", "pyarrow"}
    while left:
        name = left.pop()
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found = {normal(one) for one in needs if "extra ==" not in one}
        left |= found - seen
    assert len(seen) > 15
    assert seen & SIGNING == set()


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_s2_prop_1_no_module_imports_what_signs() -> None:
    roots = {(path, name.partition(".")[0]) for path, tree in modules() for name in imported(tree)}
    assert len(roots) > 500
    assert [found for found in roots if found[1] in SIGNING_MODULES] == []


def opened(tree: ast.Module) -> set[str]:
    """Names by which a module opens connections to others."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "ClientSession":
            found.add("aiohttp.ClientSession")
        elif isinstance(node, ast.ImportFrom):
            named = {alias.name for alias in node.names}
            if node.module == "aiohttp" and "ClientSession" in named:
                found.add("aiohttp.ClientSession")
            if (node.module or "").startswith("websockets") and "connect" in named:
                found.add("websockets.asyncio.client.connect")
    return found


def test_s2_prop_1_requests_leave_by_known_doors_only() -> None:
    """Beside these there is the bus, whose receivers are ours and take reports."""
    found: dict[str, set[str]] = {name: set() for name in DOORS}
    for path, tree in modules():
        names = {name.partition(".")[0] for name in imported(tree)}
        assert not names & {"requests", "httpx", "urllib3", "httplib2", "pycurl"}, path
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "urlopen" not in used, path
        assert "http.client" not in set(imported(tree)), path
        if not path.startswith("simulate/"):
            for door in opened(tree):
                found[door].add(path)
    assert found == {door: set(paths) for door, paths in DOORS.items()}


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the constants that are documentation."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def test_s2_prop_1_no_text_is_a_trading_call() -> None:
    found = []
    for path, tree in modules():
        documentation = docstrings(tree)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)):
                continue
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if id(node) not in documentation and TRADING.search(text):
                found.append((path, text[:80]))
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "/order",
        "https://clob.polymarket.com/orders",
        "/0/private/AddOrder",
        "eth_sendRawTransaction",
        "/cancel-all",
        "POLY_SIGNATURE",
    ],
)
def test_that_look_is_not_blind(text: str) -> None:
    assert TRADING.search(text)


def asks(venue: Venue[Any], state: Any) -> Iterator[Fetch]:
    """Everything that this venue would ask for as things stand."""
    yield from (fetch for poll in venue.polls(state) for fetch in poll.requests)
    instruments = ("", *venue.instruments())
    kinds = ("gap", "mute", "stale", "listed", "quiet")
    channels = ("", "trade", "book", "midpoint", "trades", "rest")
    for kind, instrument, channel, ask in itertools.product(
        kinds, instruments, channels, get_args(Ask)
    ):
        assert kind in get_args(StatusKind)
        fault = Fault(kind, venue.name, instrument, T0, "", channel, 5, 9, T0 - 9, ask=ask)
        fetch = venue.fetch(state, fault)
        if fetch is not None:
            yield fetch
        for stream in venue.streams(state):
            for message in venue.resubscribe(state, msgspec.structs.replace(fault, stream=stream)):
                listens(message)


def listens(message: bytes) -> None:
    """A message over a socket subscribes, gives up, or asks for the time."""
    if message == b"PING":
        return
    told = msgspec.json.decode(message)
    verb = told.get("method") or told.get("event") or told.get("operation") or told.get("type")
    assert verb.lower() in {
        "subscribe", "unsubscribe", "ping", "list_subscriptions", "market", "eth_subscribe",
    }, told  # fmt: skip


def reads(fetch: Fetch) -> None:
    """A request is on the list."""
    path = urlsplit(fetch.url).path or "/"
    method = "POST" if fetch.body else "GET"
    assert any(re.fullmatch(known, path) for known in READS[method]), (method, path)
    if not fetch.body:
        return
    told = msgspec.json.decode(fetch.body)
    assert isinstance(told, list)
    for one in told:
        if path == "/books":
            assert set(one) == {"token_id"}
        else:
            assert one["method"] in RPC_READS


def lived(venue: Venue[Any], data: Iterable[tuple[str, bytes]]) -> Any:
    """A state after a connection, some frames, and time without any."""
    state = venue.start()
    streams = venue.streams(state)
    for stream in streams or ("clob", "rpc"):
        list(venue.on_link(state, Link(T0, venue.name, "up", stream=stream)))
    for number, (stream, body) in enumerate(data):
        with contextlib.suppress(DecodeError):
            list(venue.decode(state, Frame(T0 + number, venue.name, body, stream)))
    for second in (1, 30, 90, 400):
        list(venue.on_timer(state, Timer(T0 + second * NS_PER_S).ts_recv))
    for stream in streams or ("clob", "rpc"):
        list(venue.on_link(state, Link(T0 + 500 * NS_PER_S, venue.name, "down", "503", stream)))
    return state


def test_s2_prop_1_every_venue_is_looked_at() -> None:
    named = pyproject()["project"]["entry-points"]["tapewatch.venues"]
    assert set(named) == set(VENUES)


def is_file(venue: Venue[Any]) -> bool:
    return isinstance(venue, Ndjson)


@pytest.mark.parametrize("venue", EVERY, ids=lambda one: type(one).__name__)
def test_s2_prop_1_venues_ask_for_public_data_only(venue: Venue[Any]) -> None:
    count = 0
    for state in (venue.start(), lived(venue, [])):
        for stream in venue.streams(state):
            for message in venue.subscribe(state, stream):
                listens(message)
        for fetch in asks(venue, state):
            reads(fetch)
            count += 1
    if not is_file(venue):
        listens(venue.endpoint().ping or b"PING")
        assert count > 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ws", "ws:0", "rest:/books?batch=0", "rest:/?head", "rest:/x"]),
            st.binary(max_size=60)
            | st.sampled_from([b"[]", b"{}", b'[{"event_type":"book"}]', b'{"channel":"status"}']),
        ),
        max_size=6,
    ),
    st.sampled_from(EVERY),
)
def test_s2_prop_1_whatever_a_venue_says(data: list[tuple[str, bytes]], venue: Venue[Any]) -> None:
    for fetch in asks(venue, lived(venue, data)):
        reads(fetch)
