"""Bot 4.15's own names of settings go on working, each with a note."""

import pathlib

import pytest

from tapewatch.app.config import load
from tapewatch.detect.zscore import ZScore
from tapewatch.model.errors import ConfigError


def settings(tmp_path: pathlib.Path, text: str) -> pathlib.Path:
    file = tmp_path / "settings.toml"
    file.write_text(f'{text}\n[source.kraken]\nsymbols = ["BTC/USD"]\n')
    return file


def test_every_old_name_sets_what_it_is_of(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = """
        z_threshold = 2.5
        min_baseline_window_h = 2
        sample_rate = 5
        publish_to = ["nats://127.0.0.1:4222"]
        auto_pause_strategies = ["maker", "taker"]
    """
    loaded = load(environment={}, file=settings(tmp_path, text))
    config = loaded.config
    (zscore,) = (one for one in config.detectors if isinstance(one, ZScore))
    assert (zscore.z_score_threshold, zscore.baseline_window_s) == (2.5, 7200.0)
    assert config.gate.sample_rate == 5
    assert config.sink.bus.publish_to == ("nats://127.0.0.1:4222",)
    assert config.advice.auto_pause_strategies == ("maker", "taker")
    assert len(loaded.notes) == 5
    assert "z_threshold is set; it is bot 4.15's name of detector.zscore.z_score_threshold" in (
        loaded.notes
    )


def test_what_is_no_number_of_hours_is_said(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="min_baseline_window_h: 'long' is no number of hours"):
        load(environment={}, file=settings(tmp_path, 'min_baseline_window_h = "long"'))
