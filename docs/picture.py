"""The picture of the README: the end of a real `tapewatch demo`, as a terminal shows it.

    python docs/picture.py docs/images/demo.png

It needs Chromium on the path; the picture is only as new as the last time somebody ran this.
"""

import io
import pathlib
import shutil
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 80, 58
PAGE = """<meta charset="utf-8"><style>
body {{ margin: 0; background: #16181d; color: #d8dbe2; }}
pre {{ margin: 18px; font: 14px/19px "DejaVu Sans Mono", monospace; }}
</style><pre>{code}</pre>"""


def main(picture: pathlib.Path) -> None:
    """Run the demo, draw its last lines."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tapewatch", "demo", "--color", "always"]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, check=True
        )
        shown = done.stdout.decode().splitlines()[-LINES:]
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi("\n".join(shown)), soft_wrap=True)
        page = pathlib.Path(folder) / "page.html"
        page.write_text(console.export_html(code_format=PAGE, inline_styles=True))
        browser = shutil.which("chromium") or "chromium"
        picture.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
                f"--screenshot={picture.resolve()}", f"--window-size=730,{LINES * 19 + 40}",
                page.as_uri(),
            ],
            check=True, capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
