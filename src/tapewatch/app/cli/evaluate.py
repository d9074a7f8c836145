"""`tapewatch evaluate`: the detectors on labelled data, and how well they did."""

import importlib
import json
import pathlib
from typing import Final

import click

from tapewatch.app.cli import output
from tapewatch.app.suggest import did_you_mean
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

# Set -> what is in it.
SETS: Final[dict[str, str]] = {
    "pumps": "trades of small coins around announced pumps",
    "bitfinex": "minute bars with known bad prints, crashes and outages",
    "books": "prediction market books with gaps, crossings and pulled sides",
    "wallets": "trades with accounts, and rings planted among them",
    "usde": "a stablecoin that one venue alone lost",
    "nab": "the Numenta Anomaly Benchmark, no market data",
    "quiet": "calm market data, where nothing should fire",
    "synthetic": "made-up tapes of known law: calibration and power (DIR may be -)",
    "peers": "the rules of others on made-up tapes, pumps and bitfinex",
    "soak": "days of made-up prediction markets with planted spikes (DIR is -)",
}


@click.command()
@click.argument("name", metavar="SET")
@click.argument("folder", metavar="DIR")
@click.option("--out", metavar="OUT", required=True, help="Folder for the alerts of each file.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Another setting.")
@output.JSON
def evaluate(
    *,
    name: str,
    folder: str,
    out: str,
    changes: tuple[str, ...],
    as_json: bool,  # noqa: ARG001  the score is JSON in any case
) -> None:
    """Run the detectors over a set of data, write the alerts of every file, print the score.

    SET is one of pumps, bitfinex, books, wallets, usde, nab, quiet, synthetic, peers, soak. One
    configuration is used for everything: the defaults, with what --set changes.
    """
    from tapewatch.app.config import set_option  # noqa: PLC0415  --help stays quick

    if name not in SETS:
        raise ConfigError(f'unknown set "{clean(name, 40)}"{did_you_mean(name, SETS)}', "SET")
    data = pathlib.Path(folder)
    if not data.is_dir() and not (name in ("synthetic", "soak") and folder == "-"):
        raise ConfigError(f"{clean(folder)} is no folder", "DIR")
    work = importlib.import_module(f"tapewatch.app.evaluate.{name}")
    score = work.evaluate(data, pathlib.Path(out), [set_option(text) for text in changes])
    output.current().put(json.dumps(score, indent=1))
