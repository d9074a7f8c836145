"""Logs of the exchange contracts, written by hand: it shares no code with decoder or simulator."""

from typing import Any

CTF_V1 = "0x4bFb41d5B3570DeFd03C39a9A4D8dE6Bd8B8982E"
CTF_V2 = "0xE111180000d2663C0091e4f400237545B87B996B"
TOPIC_V1 = "0xd0a08e8c493f9c94f29311604c9de1b4e8c8d4c06bd0c789af57f2d65bfec0f6"
TOPIC_V2 = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"
CONDITION = "0x" + "c0" * 32
YES, NO = str(2**255 + 12_345), str(2**254 + 67_890)
ALICE, BOB = "0x" + "a1" * 20, "0x" + "b0" * 20
GENESIS_S = 1_780_000_000  # of block 0 here; two seconds a block


def word(value: int) -> str:
    return f"{value:064x}"


def topic(address: str) -> str:
    return "0x" + "0" * 24 + address[2:].lower()


def block_hash(number: int, fork: int = 0) -> str:
    return "0x" + f"{number:032x}{fork:032x}"


def log(
    layout: str = "v2",
    *,
    maker: str = ALICE,
    taker: str = BOB,
    token: str = YES,
    maker_buys: bool = False,
    tokens: int = 100_000_000,
    cash: int = 52_000_000,
    fee: int = 0,
    block: int = 1_000,
    index: int = 7,
    tx: int = 1,
    order: int = 0,
    fork: int = 0,
    address: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Maker sells 100 YES at 0.52 to Bob unless said otherwise."""
    made, got = (cash, tokens) if maker_buys else (tokens, cash)
    if layout == "v1":
        ids = (0, int(token)) if maker_buys else (int(token), 0)
        words = [*ids, made, got, fee]
    else:
        words = [0 if maker_buys else 1, int(token), made, got, fee, 0, 0]
    return {
        "address": address or (CTF_V1 if layout == "v1" else CTF_V2),
        "topics": [
            TOPIC_V1 if layout == "v1" else TOPIC_V2,
            "0x" + word(order or tx * 1_000 + index),
            topic(maker),
            topic(taker),
        ],
        "data": "0x" + "".join(map(word, words)),
        "blockNumber": hex(block),
        "blockHash": block_hash(block, fork),
        "transactionHash": "0x" + word(tx),
        "transactionIndex": "0x3",
        "logIndex": hex(index),
        "removed": False,
        "blockTimestamp": hex(GENESIS_S + 2 * block),
        **more,
    }
