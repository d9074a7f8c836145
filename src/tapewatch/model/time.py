"""Time as data: integer nanoseconds since the Unix epoch, UTC.

Nothing here reads a clock (`tapewatch.io.clock` is the only place that does). Calendar arithmetic
is our own because RFC 3339 texts with nanoseconds do not fit `datetime`, and because the pure core
may not import it.
"""

import re
from typing import Final

from tapewatch.model.errors import ConfigError, DecodeError

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
NS_PER_US: Final = 1_000

# Plausible venue times: a value outside is a unit mix-up (seconds read as ns ...) or garbage.
TS_MIN_NS: Final = 1_230_768_000 * NS_PER_S  # 2009-01-01, before any crypto venue traded
TS_MAX_NS: Final = 4_102_444_800 * NS_PER_S  # 2100-01-01

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)"
    r"(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):?(\d\d))",
    re.ASCII,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", re.ASCII)
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a proleptic Gregorian date (H. Hinnant, "chrono-compatible
    low-level date algorithms", days_from_civil)."""
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (
        era * 146_097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - 719_468
    )


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Inverse of `days_from_civil` (same source)."""
    days += 719_468
    era = days // 146_097
    day_of_era = days - era * 146_097
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + (3 if shifted < 10 else -9)
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def parse_rfc3339(text: str) -> int:
    """`2023-07-30T17:50:51.123456Z` -> ns. Digits beyond nanoseconds are dropped.

    Raises `DecodeError` when the text is no RFC 3339 instant.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise DecodeError(f"not an RFC 3339 time: {text[:40]!r}")
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        raise DecodeError(f"time out of range: {text[:40]!r}")
    if civil_from_days(days_from_civil(year, month, day)) != (year, month, day):
        raise DecodeError(f"no such day: {text[:40]!r}")
    seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    if match.group(8):
        offset = int(match.group(9)) * 3600 + int(match.group(10)) * 60
        seconds -= offset if match.group(8) == "+" else -offset
    return seconds * NS_PER_S + int((match.group(7) or "0").ljust(9, "0"))


def format_rfc3339(ns: int, digits: int = 6) -> str:
    """ns -> `2023-07-30T17:50:51.123456Z` with `digits` (0-9) decimals, truncated."""
    seconds, fraction = divmod(ns, NS_PER_S)
    days, of_day = divmod(seconds, 86_400)
    year, month, day = civil_from_days(days)
    hour, rest = divmod(of_day, 3600)
    tail = f".{fraction:09d}"[: digits + 1] if digits else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}{tail}Z"


def clock_text(ns: int, digits: int = 0) -> str:
    """ns -> `17:50:51` (UTC time of day), with `digits` decimals."""
    return format_rfc3339(ns, digits)[11:-1]


def parse_duration(text: str | float) -> float:
    """`90s`, `15m`, `4h`, `2d`, `250ms`, or bare seconds -> seconds. Raises `ConfigError`."""
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ConfigError(f"not a duration: {str(text)[:40]!r}; write 90s, 15m or 4h")
    return float(match.group(1)) * _UNIT_S[match.group(2)]


def duration_text(seconds: float) -> str:
    """Seconds as people say it: `4 h 00 m`, `15 m 05 s`, `8.4 s`."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} m"
    if seconds >= 60:
        return f"{int(seconds // 60)} m {int(seconds % 60):02d} s"
    return f"{seconds:.1f} s"
