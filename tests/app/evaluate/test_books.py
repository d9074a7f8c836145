"""The set of books on a made-up market: from rows to a score, and the score's arithmetic."""

import gzip
import json
import pathlib

import pytest
from msgspec import UNSET

from tapewatch.app.config import DEFAULT_DETECTORS, set_option
from tapewatch.app.evaluate import books
from tapewatch.app.evaluate.books import Label, Market, score
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, DataVerdict, Severity
from tapewatch.model.time import NS_PER_S

T0 = 1_750_000_000
HEAD = "market_slug,asset_id,market_id,event_type,price,side,size,hash,timestamp"
OWN = ("crossed", "gap", "repricing")
ALONE = [
    set_option(f"detector.{name}.enabled=false") for name in DEFAULT_DETECTORS if name not in OWN
]


def alarm(
    at_s: float, cause: str, severity: Severity = "warn", p_persist: float | None = None
) -> Alert:
    at = int((T0 + at_s) * NS_PER_S)
    return Alert(
        id=str(at),
        incident="one",
        instrument="polymarket:game/1",
        detector=cause,
        cause=cause,
        severity=severity,
        ts_event_ns=at,
        ts_alert_ns=at,
        onset_ns=at,
        p=None,
        p_extrapolated=False,
        score=1.0,
        line=1.0,
        observed=None,
        expected=None,
        data_verdict=DataVerdict("complete"),
        p_persist=UNSET if p_persist is None else p_persist,
    )


def label(kind: str, start_s: float, end_s: float | None = None) -> Label:
    start = int((T0 + start_s) * NS_PER_S)
    end = start if end_s is None else int((T0 + end_s) * NS_PER_S)
    return Label("game", kind, start, end)


def test_the_score_by_hand() -> None:
    alerts = [
        alarm(60, "silence", "info"),  # within the first gap, 10 s too late for the second
        alarm(1_015, "silence"),
        alarm(2_001.5, "crossed"),
        alarm(3_002, "price_jump", "info", 0.9),
        alarm(3_010, "price_jump", "info", 0.2),  # a revised line is not judged
        alarm(4_002, "price_jump", "info", 0.3),
        alarm(5_003.5, "price_jump", "info", 0.3),  # too late
        alarm(3_030, "price_jump"),
        alarm(4_059, "level_shift"),
        alarm(4_200, "resumed"),  # one episode with the one before
    ]
    truth = [
        label("feed_gap", 0, 100),
        label("feed_gap", 900, 1_005),
        label("crossed_book", 2_000, 2_003),
        label("crossed_book", 2_500, 2_503),
        label("mid_jump_persisted", 3_000, 3_060),
        label("mid_jump_reverted", 4_000, 4_060),
        label("mid_jump_reverted", 5_000, 5_060),
        Label("another", "feed_gap", 0, 1),
    ]
    found = score({"game": Market(alerts, 10.0)}, truth)
    assert (found["feed_gap"].hits, found["feed_gap"].n) == (1, 2)
    assert (found["crossed_book"].hits, found["crossed_book"].n) == (1, 2)
    assert found["crossed_within_1_s_of_the_first"].hits == 1
    triage = found["jump_triage"]
    assert (triage["auc"], triage["scored"], triage["unseen"]) == (1.0, 2, 1)
    assert triage["brier"] == pytest.approx((0.1**2 + 0.3**2) / 2)
    assert (found["reverted_jumps_alerted"].hits, found["reverted_jumps_alerted"].n) == (1, 2)
    assert found["persisted_jumps_alerted"].hits == 1
    load = found["per_market_hour"]
    assert (load["price"].count, load["price"].rate) == (2, 0.2)
    assert load["silence"].count == 1
    assert load["silence_notes"].count == 2
    assert load["crossed"].count == 1
    assert load["all"].count == 4


def rows() -> list[str]:
    """A game: quiet, a pulled bid, a new price, a crossed book, a minute of silence."""

    def message(ms: int, bid: int, ask: int) -> list[str]:
        return [
            f"game,{asset},7,book,{price / 100},{side},100,h{ms},{T0 * 1_000 + ms}"
            for asset, pairs in (("11", ((bid, "bid"), (ask, "ask"))),
                                 ("22", ((100 - ask, "bid"), (100 - bid, "ask"))))
            for price, side in pairs
        ]  # fmt: skip

    found = []
    for second in range(200):
        bid, ask = (49, 51) if second < 120 else (69, 71)
        if 60 <= second < 63:
            bid = 7
        if 160 <= second < 163:
            bid = 72
        found += message(second * 1_000 + 5, bid, ask)
    return found + message(300_000, 69, 71)


def test_from_rows_to_a_score(tmp_path: pathlib.Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    file = data / f"20250101_game{books.ENDING}"
    file.write_bytes(gzip.compress("\n".join([HEAD, *rows(), "game,11,torn"]).encode()))
    truth = (
        ("feed_gap", 199_005, 300_000),
        ("crossed_book", 160_005, 163_005),
        ("mid_jump_reverted", 60_005, 120_005),
        ("mid_jump_persisted", 120_005, 180_005),
    )
    lines = [f"game,{kind},{T0 * 1_000 + a},{T0 * 1_000 + b}" for kind, a, b in truth]
    (data / books.LABELS).write_text("\n".join(["slug,type,start_ms,end_ms", *lines]))
    found = books.evaluate(data, out, ALONE)
    assert json.dumps(found)
    assert (found["feed_gap"]["hits"], found["crossed_book"]["hits"]) == (1, 1)
    assert (found["jump_triage"]["auc"], found["jump_triage"]["unseen"]) == (1.0, 0)
    assert found["reverted_jumps_alerted"]["hits"] == 0
    assert found["persisted_jumps_alerted"]["hits"] == 1
    assert found["market_hours"] == pytest.approx(300 / 3_600, rel=1e-3)
    said = [json.loads(line) for line in (out / "game.alerts.ndjson").read_text().splitlines()]
    assert {one["instrument"] for one in said} == {"polymarket:game/11"}  # a mirror says nothing
    assert sorted((one["cause"], one["severity"]) for one in said) == [
        ("crossed", "warn"), ("price_jump", "info"), ("price_jump", "info"),
        ("price_jump", "warn"), ("resumed", "info"), ("silence", "info"), ("silence", "warn"),
    ]  # fmt: skip


def test_an_empty_folder_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="has no file"):
        books.evaluate(tmp_path, tmp_path / "out")


def test_labels_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "labels.csv"
    for text in (None, "a,b\n1,2\n", "slug,type,start_ms,end_ms\ngame,feed_gap,x,1\n"):
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigError, match="cannot be read as labels"):
            books.labels(file)


def test_real_games(shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Two games: all gaps and crossings, and a forecast of every jump."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("20250617_mlb-mil-chc", "20250624_mlb-tor-cle"):
        (file,) = (shared_data / "polymarket_books").glob(f"{name}*.csv.gz")
        (data / file.name).symlink_to(file)
    (data / books.LABELS).symlink_to(shared_data / "polymarket_books" / books.LABELS)
    found = books.evaluate(data, tmp_path / "out", ALONE)
    for kind in ("feed_gap", "crossed_book"):
        assert found[kind]["hits"] == found[kind]["n"] > 0
    assert found["jump_triage"]["unseen"] == 0
    assert found["reverted_jumps_alerted"]["hits"] == 0
