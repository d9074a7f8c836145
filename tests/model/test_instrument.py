"""Market ids."""

import pytest

from tapewatch.model.errors import ConfigError
from tapewatch.model.instrument import split_id


def test_an_id_is_venue_and_symbol() -> None:
    assert split_id("kraken:BTC/USD") == ("kraken", "BTC/USD")
    assert split_id("polymarket:0xab12") == ("polymarket", "0xab12")


@pytest.mark.parametrize(
    "text", ["", "BTC/USD", "kraken:", ":BTC/USD", "Kraken:BTC/USD", "kraken:BTC USD", "a:b\nc"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="kraken:BTC/USD"):
        split_id(text)
