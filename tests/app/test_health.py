"""Health by bot 4.15's rules, at their edges, and the facts behind it."""

import msgspec
import pytest

from tapewatch.app.health import Facts, Surface, Vitals, health, ready
from tapewatch.model.outputs import Fault, Observation
from tapewatch.model.time import NS_PER_S

T0 = 1_763_700_000 * NS_PER_S


def at(seconds: float) -> int:
    return T0 + int(seconds * NS_PER_S)


def facts(**changes: object) -> Facts:
    base: dict[str, object] = {
        "started_ns": T0,
        "poll_interval_s": 5.0,
        "detections": {"polymarket:0x1": T0, "polymarket:0x2": T0},
        "surfaces": {"clob": Surface(ok_ns=T0), "data": Surface(ok_ns=T0)},
        "redis": "up",
    }
    return Facts(**(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "after_s", "colour", "word"),
    [
        ({}, 9.9, "green", ""),
        ({}, 10.0, "yellow", "poll intervals: polymarket:0x1, polymarket:0x2"),
        ({}, 600.0, "yellow", "poll intervals"),
        ({}, 600.1, "red", "No detection for 10 m"),
        ({"detections": {"a": T0, "b": at(100)}}, 101.0, "yellow", "poll intervals: a."),
        ({"detections": {"a": T0, "b": at(700)}}, 701.0, "yellow", "poll intervals: a."),
        ({"detections": {}}, 1.0, "yellow", "No detection yet"),
        ({"detections": {}}, 601.0, "red", "No detection for"),
        ({"redis": "off"}, 1.0, "green", ""),
        ({"redis": "down"}, 1.0, "red", "Redis"),
        ({"surfaces": {"clob": Surface(down_ns=T0)}}, 1.0, "yellow", "clob has been down"),
        ({"surfaces": {"data": Surface(down_ns=T0)}}, 1.0, "yellow", "data has been down"),
        ({"connected": False}, 1.0, "yellow", "not connected"),
    ],
)
def test_colours_and_their_edges(
    changes: dict[str, object], after_s: float, colour: str, word: str
) -> None:
    found = health(facts(**changes), at(after_s))
    assert found.status == colour
    assert bool(found.reasons) == (colour != "green")
    assert word in " ".join(found.reasons)


@pytest.mark.parametrize(("name", "colour"), [("clob", "red"), ("data", "yellow")])
def test_only_the_clob_down_for_five_minutes_is_red(name: str, colour: str) -> None:
    down = {name: Surface(down_ns=T0, why="answers 503")}
    fresh = {"polymarket:0x1": at(300)}
    assert health(facts(surfaces=down, detections=fresh), at(300)).status == "yellow"
    fresh = {"polymarket:0x1": at(301)}
    found = health(facts(surfaces=down, detections=fresh), at(301))
    assert found.status == colour
    assert "answers 503" in found.reasons[0]


def test_many_late_markets_are_counted_not_listed() -> None:
    many = {f"polymarket:{number:03}": T0 for number in range(100)}
    (reason,) = health(facts(detections=many), at(60)).reasons
    assert "polymarket:004 and 95 more" in reason


def test_the_body_says_it_all() -> None:
    body = msgspec.to_builtins(health(facts(kill="on"), at(3)))
    assert body["schema"] == "tapewatch.health/1"
    assert body["last_detection_age_s"] == 3.0
    assert body["surfaces"] == {"clob": "up", "data": "up"}
    assert (body["markets"], body["redis"], body["kill_switch"]) == (2, "up", "on")


def test_ready_is_when_sources_are_connected_and_a_baseline_has_begun() -> None:
    assert ready(facts()).ready
    assert not ready(facts(connected=False)).ready
    assert not ready(facts(detections={})).ready


def cycle(instrument: str = "polymarket:0x1", *, report: bool = True) -> Observation:
    return Observation("zscore", instrument, "price_spike", T0, 0.1, 3.0, report=report)


def link(state: str, stream: str, when: float = 0.0) -> Fault:
    return Fault(f"link_{state}", "polymarket", "", at(when), "answers 503", stream=stream)


def vitals() -> Vitals:
    return Vitals(started_ns=T0, poll_interval_s=5.0, sources=["polymarket"])


def test_cycles_of_the_reporting_detector_are_detections_and_others_are_not() -> None:
    seen = vitals()
    seen.see([cycle(report=False)], T0)
    assert not seen.facts.detections
    seen.see([cycle()], at(1))
    assert seen.facts.detections == {"polymarket:0x1": at(1)}


def test_a_service_that_goes_down_is_dated_from_its_first_failure() -> None:
    seen = vitals()
    seen.see([link("up", "clob"), link("down", "clob", 10), link("down", "clob", 20)], at(20))
    assert seen.facts.surfaces["clob"].down_ns == at(10)
    assert seen.facts.surfaces["clob"].ok_ns == T0
    seen.see([link("up", "clob", 30)], at(30))
    assert seen.facts.surfaces["clob"] == Surface(ok_ns=at(30))
    seen.answered("clob", at(40))
    assert seen.facts.surfaces["clob"].ok_ns == at(40)


def test_a_source_counts_as_connected_by_its_link() -> None:
    seen = vitals()
    assert not seen.facts.connected
    seen.see([link("up", "ws")], T0)
    assert seen.facts.connected
    seen.see([link("down", "ws")], T0)
    assert not seen.facts.connected
    assert not seen.facts.surfaces  # a socket is no service


def test_a_market_that_is_halted_is_not_missed() -> None:
    seen = vitals()
    seen.see([cycle(), Fault("halted", "polymarket", "polymarket:0x1", T0)], T0)
    assert not seen.facts.detections
