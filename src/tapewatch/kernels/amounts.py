"""How rare an amount is: what a market's participants trade, each amount once per account.

Round amounts are common and unseen ones rare. An account that repeats an amount adds nothing, so
that a ring which trades one amount for ever does not make it look common.
"""

from math import floor, log, log10
from typing import Final

from msgspec import Struct, field

AMOUNTS: Final = 2_048  # different amounts remembered; then the counts are halved
USES: Final = 8_192  # (account, amount) pairs remembered before that memory is cleared
_BITS: Final = 1 << 15  # of that memory: 4 kB
_PRIOR: Final = 20.0  # accounts' worth of belief in the smooth law of amounts
_BIN: Final = 0.1  # width of a bin of ln amount
_DIGITS: Final = 7  # significant digits that tell amounts apart
_LEAST, _MOST = 1e-12, 1e15  # beyond, an amount is put there
_DIGIT_TRADES: Final = 1_000  # amounts that a test of first digits takes, and their decades:
_DIGIT_DECADES: Final = 2.0
_BENFORD: Final = tuple(log10(1.0 + 1.0 / digit) for digit in range(1, 10))


class Amounts(Struct):
    """`seen`: amount -> accounts that used it. `bins`: the same by ln amount. `uses`: a bit field
    of (account, amount). `digits`: amounts by their first digit."""

    seen: dict[float, int] = field(default_factory=dict)
    bins: dict[int, int] = field(default_factory=dict)
    total: int = 0
    uses: bytearray = field(default_factory=lambda: bytearray(_BITS // 8))
    used: int = 0
    digits: list[int] = field(default_factory=lambda: [0] * 9)


def canonical(amount: float) -> float:
    """The amount in seven significant digits: what is equal to the cent is equal."""
    return float(f"{min(max(amount, _LEAST), _MOST):.{_DIGITS}g}")


def learn(amounts: Amounts, account: int, amount: float) -> None:
    """`amount` (canonical) was used by `account`, a small number of its own."""
    place, mask = _bit(account, amount)
    if amounts.uses[place] & mask:
        return
    amounts.uses[place] |= mask
    amounts.used += 1
    if amounts.used >= USES:
        amounts.uses, amounts.used = bytearray(_BITS // 8), 0
    amounts.seen[amount] = amounts.seen.get(amount, 0) + 1
    index = floor(log(amount) / _BIN)
    amounts.bins[index] = amounts.bins.get(index, 0) + 1
    amounts.total += 1
    amounts.digits[int(f"{amount:e}"[0]) - 1] += 1
    if len(amounts.seen) > AMOUNTS:
        _halve(amounts)


def has_used(amounts: Amounts, account: int, amount: float) -> bool:
    """Has this account used this (canonical) amount before? Seldom wrong, and then with yes."""
    place, mask = _bit(account, amount)
    return bool(amounts.uses[place] & mask)


def _bit(account: int, amount: float) -> tuple[int, int]:
    bit = (account * 0x9E3779B1 ^ hash(amount) * 0x85EBCA6B) % 0xFFFFFFFB % _BITS
    return bit >> 3, 1 << (bit & 7)


def _halve(amounts: Amounts) -> None:
    amounts.seen = {amount: count // 2 for amount, count in amounts.seen.items() if count > 1}
    amounts.bins = {index: count // 2 for index, count in amounts.bins.items() if count > 1}
    amounts.total = sum(amounts.bins.values())


def chance(amounts: Amounts, amount: float, distance: float, users: int) -> float:
    """Probability that another account's amount is within `distance` (of ln) of this one.

    At distance 0: of exactly this one, by how many accounts but the `users` in question used it,
    smoothed by the density nearby and by how round it is (a Dirichlet prior).
    """
    density = _density(amounts, amount)
    if distance > 0.0:
        return min(1.0, 2.0 * distance * density)
    others = max(amounts.seen.get(amount, 0) - users, 0)
    smooth = min(1.0, density * _grain(amount) / amount)
    return min(1.0, (others + _PRIOR * smooth) / (amounts.total + _PRIOR))


def _density(amounts: Amounts, amount: float) -> float:
    """Of ln amount, over three bins; as if one more amount were in them."""
    index = floor(log(amount) / _BIN)
    near = sum(amounts.bins.get(index + step, 0) for step in (-1, 0, 1))
    return (near + 1.0) / (amounts.total + 1.0 / (3.0 * _BIN)) / (3.0 * _BIN)


def _grain(amount: float) -> float:
    """The largest power of ten that divides it: amounts as round as this one are so far apart."""
    digits = f"{amount:.{_DIGITS - 1}e}"
    mantissa, _, exponent = digits.partition("e")
    return 10.0 ** (int(exponent) - len(mantissa.rstrip("0").rstrip(".").replace(".", "")) + 1)


def first_digits(amounts: Amounts) -> float | None:
    """Decades (-log10 p) of a chi-squared test of the first digits against Benford's law; None
    below 1,000 amounts or when they span less than two decades.

    Of the market as a whole: people prefer round amounts, so it accuses nobody.
    Reference: Cong, Li, Tang, Yang (2023), "Crypto Wash Trading", Management Science 69(11).
    """
    total = sum(amounts.digits)
    if total < _DIGIT_TRADES or not amounts.bins:
        return None
    if (max(amounts.bins) - min(amounts.bins)) * _BIN < _DIGIT_DECADES * log(10.0):
        return None
    half = 0.5 * sum(
        (count - total * share) ** 2 / (total * share)
        for count, share in zip(amounts.digits, _BENFORD, strict=True)
    )
    series = 1.0 + half + half**2 / 2.0 + half**3 / 6.0  # upper tail with 8 degrees of freedom
    return max(0.0, (half - log(series)) / log(10.0))
