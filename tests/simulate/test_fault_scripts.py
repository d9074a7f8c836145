"""How faults are written down: numbers, names, parameters, files."""

import pathlib

import pytest

from tapewatch.model.errors import ConfigError
from tapewatch.simulate.faults import CATALOGUE, Fault, FaultKind, Scope, load, parse


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.name)
def test_numbers_and_names_mean_the_same(kind: FaultKind) -> None:
    assert parse(f"{kind.code}@20") == parse(f"{kind.name}@20") == parse(f"{kind.code.lower()}@20")


def test_fault_texts() -> None:
    assert parse("F11@20,code=1012").params == {"code": 1012}
    fault = parse("stall@30:10,symbol=ETH/USD,channel=trade")
    assert (fault.at_s, fault.for_s) == (30.0, 10.0)
    assert fault.scope == Scope("ETH/USD", "trade")


@pytest.mark.parametrize(
    "text",
    [
        "stall",
        "stall@",
        "nothing@5",
        "stall@-1",
        "F11@5,kode=3",
        "F11@5,code=x",
        "@5",
        "F11@5,code=7",
        "F41@5,frame=odd",
        "stall@nan",
        "F15@5,lost=2",
    ],
)
def test_bad_fault_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_scripts(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "faults.json"
    script.write_text('[{"at": 5, "for": 2, "fault": "F03", "scope": {"channel": "book"}}]')
    assert load(script) == (Fault(5.0, "F03", 2.0, Scope(channel="book"), {}),)
    script.write_text('[{"at": 5, "fault": "F03", "scop": {}}]')
    with pytest.raises(ConfigError, match="scop"):
        load(script)
