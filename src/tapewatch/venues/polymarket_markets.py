"""Polymarket's markets as the settings and the decoders know them, and what ids look like.

A market is one condition with two outcomes, each of which is a token with a book of its own.
"""

import re
from typing import Final

from msgspec import Struct

# 32 bytes, and 31 in protocol v2.
CONDITION_ID: Final = re.compile(r"0x(?:[0-9a-f]{64}|[0-9a-f]{62})", re.ASCII)
TOKEN_ID: Final = re.compile(r"[0-9]{1,78}", re.ASCII)  # a uint256 in decimal; never a number


class Market(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One condition. `yes` and `no` are the token ids of `outcomes` 0 and 1, in that order; `tick`
    in pUSD; `end_ns` 0: unknown. `event` is the slug of the event it belongs to."""

    condition: str
    yes: str
    no: str
    outcomes: tuple[str, str] = ("Yes", "No")
    slug: str = ""
    question: str = ""
    event: str = ""
    tick: float = 0.01
    neg_risk: bool = False
    end_ns: int = 0

    @property
    def name(self) -> str:
        """What people call it: the slug and the outcome whose price is shown."""
        return f"{self.slug or self.condition} · {self.outcomes[0]}"


def instrument_of(condition: str, venue: str = "polymarket") -> str:
    """`polymarket:0x...`."""
    return f"{venue}:{condition}"
