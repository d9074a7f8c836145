"""Our calendar against the standard library's."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.time import (
    NS_PER_S,
    civil_from_days,
    clock_text,
    days_from_civil,
    duration_text,
    format_rfc3339,
    parse_duration,
    parse_rfc3339,
)

EPOCH = dt.date(1970, 1, 1)


@given(st.dates())
def test_civil_days_agree_with_the_standard_library(day: dt.date) -> None:
    days = (day - EPOCH).days
    assert days_from_civil(day.year, day.month, day.day) == days
    assert civil_from_days(days) == (day.year, day.month, day.day)


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_an_instant_survives_text(instant: dt.datetime) -> None:
    ns = (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    text = instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert parse_rfc3339(text) == ns * 1000
    assert format_rfc3339(ns * 1000) == text


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.1234567899Z", 123_456_789),
        ("1970-01-01t01:00:00+01:00", 0),
        ("1969-12-31 23:30:00-00:30", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * NS_PER_S),
    ],
)
def test_forms_of_rfc3339(text: str, ns: int) -> None:
    assert parse_rfc3339(text) == ns


@pytest.mark.parametrize(
    "text",
    ["", "now", "2023-02-30T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z",
     "2023-01-01T00:00:00", "2023-01-01", "٢٠٢٣-01-01T00:00:00Z"],
)  # fmt: skip
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_rfc3339(text)


def test_times_as_people_read_them() -> None:
    ns = parse_rfc3339("2025-11-22T09:30:52.418Z")
    assert clock_text(ns) == "09:30:52"
    assert clock_text(ns, 3) == "09:30:52.418"
    assert [duration_text(s) for s in (8.44, 905, 14_400)] == ["8.4 s", "15 m 05 s", "4 h 00 m"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("4h", 14_400), ("2d", 172_800), ("250ms", 0.25), ("1.5h", 5400),
     (120, 120), ("14400", 14_400)],
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 weeks", "nan", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a duration"):
        parse_duration(text)
