"""The reference page of the metrics is what the code says."""

import pathlib
import runpy

from tapewatch.sinks.metrics_names import OURS, POLYTRADERS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_the_page_is_current() -> None:
    page: str = runpy.run_path(str(ROOT / "docs" / "metrics.py"))["page"]()
    written = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert written == page, "run docs/metrics.py"
    assert not [name for name in OURS | POLYTRADERS if f"| `{name}` |" not in page]
