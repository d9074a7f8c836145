"""The simulated chain: blocks, what is written in them, and reorganisations. No JSON-RPC."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from tapewatch.simulate.polygon_logs import RawLog, Tx
from tapewatch.simulate.polymarket_listing import identity

FIRST: Final = 90_000_000  # any number; the second exchange was deployed at 84,902,353
BLOCKS: Final = 20_000  # newest blocks that are kept
BLOCK_S: Final = 2
TXS: Final = 200  # matches that fit into a block
GENESIS: Final = 32  # empty blocks before the first that has anything
DEPTH_MAX: Final = 20  # of a reorganisation


class Placed(Struct, frozen=True):
    """A log in its block. `index` counts all logs of the block."""

    raw: RawLog
    tx: str
    tx_index: int
    index: int


class Block(Struct, frozen=True):
    """`ts_s`: its time. `fork` makes the hashes of blocks of one number different."""

    number: int
    hash: str
    parent: str
    ts_s: int
    txs: tuple[Tx, ...]
    logs: tuple[Placed, ...]

    def header(self) -> dict[str, Any]:
        """As a node writes it, of the fields that matter."""
        return {
            "number": hex(self.number),
            "hash": self.hash,
            "parentHash": self.parent,
            "timestamp": hex(self.ts_s),
            "miner": "0x" + "0" * 40,
            "gasLimit": "0x1c9c380",
            "gasUsed": hex(90_000 * len(self.txs)),
            "transactions": [tx.hash for tx in self.txs],
        }

    def shown(self, one: Placed, *, removed: bool = False) -> dict[str, Any]:
        """A log of this block as a node writes it."""
        return {
            "address": one.raw.address,
            "topics": list(one.raw.topics),
            "data": one.raw.data,
            "blockNumber": hex(self.number),
            "blockHash": self.hash,
            "blockTimestamp": hex(self.ts_s),
            "transactionHash": one.tx,
            "transactionIndex": hex(one.tx_index),
            "logIndex": hex(one.index),
            "removed": removed,
        }


class Listener(Struct, frozen=True):
    """Who hears of it: blocks taken back, then new ones."""

    removed: Callable[[Block], None]
    added: Callable[[Block], None]


class Chain:
    """All blocks, newest last. `now_s` is the wall clock in whole seconds."""

    def __init__(self, seed: int, now_s: Callable[[], int]) -> None:
        self._seed, self._now_s = seed, now_s
        self._forks = 0
        self.blocks: list[Block] = []
        self.pending: list[Tx] = []
        self.listener: Listener | None = None
        start = now_s() - GENESIS * BLOCK_S
        for at in range(GENESIS):
            self._append((), start + at * BLOCK_S)

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def block(self, number: int) -> Block | None:
        """None where there is none, or none any more."""
        at = number - self.blocks[0].number
        return self.blocks[at] if 0 <= at < len(self.blocks) else None

    def span(self, first: int, last: int) -> Sequence[Block]:
        """Blocks `first` to `last`, those that there are."""
        low = self.blocks[0].number
        return self.blocks[max(0, first - low) : max(0, last - low + 1)]

    def mine(self) -> Block:
        """A block of what is pending, as far as it fits."""
        txs, self.pending = tuple(self.pending[:TXS]), self.pending[TXS:]
        self._append(txs, self._now_s())
        if self.listener is not None:
            self.listener.added(self.head)
        return self.head

    def reorganise(self, depth: int, dropped: int) -> list[Tx]:
        """The newest blocks are replaced by others, in which transactions stand a block later; the
        oldest `dropped` of them never come again and are returned."""
        depth = min(depth, DEPTH_MAX, len(self.blocks) - 1)
        old = self.blocks[-depth:]
        del self.blocks[-depth:]
        if self.listener is not None:
            for block in reversed(old):
                self.listener.removed(block)
        self._forks += 1
        left = dropped
        lost: list[Tx] = []
        late: tuple[Tx, ...] = ()
        for block in old:
            mine, late = late, block.txs
            lost += mine[:left]
            kept = mine[left:]
            left -= len(mine) - len(kept)
            self._append(kept, block.ts_s)
            if self.listener is not None:
                self.listener.added(self.head)
        self.pending = [*late[left:], *self.pending]
        lost += late[:left]
        return lost

    def _append(self, txs: Sequence[Tx], ts_s: int) -> None:
        number = self.blocks[-1].number + 1 if self.blocks else FIRST
        parent = self.blocks[-1].hash if self.blocks else "0x" + "0" * 64
        logs: list[Placed] = []
        for at, tx in enumerate(txs):
            logs += [
                Placed(raw, tx.hash, at, len(logs) + place) for place, raw in enumerate(tx.logs)
            ]
        name = "0x" + identity(self._seed, f"block {number} of fork {self._forks}")
        self.blocks.append(Block(number, name, parent, ts_s, tuple(txs), tuple(logs)))
        if len(self.blocks) > BLOCKS:
            del self.blocks[0]
