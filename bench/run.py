"""All benchmarks, one JSON line each (`make bench`)."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = (
    "engine.py",
    "suite.py",
    "scan.py",
    "startup.py",
    "driftlock_sight.py",
    "redis_state.py",
    "bus.py",
    "polymarket.py",
)


def main() -> int:
    """Run every script; the number that failed is the exit code."""
    return sum(
        subprocess.run([sys.executable, str(HERE / name)], check=False).returncode != 0
        for name in SCRIPTS
    )


if __name__ == "__main__":
    sys.exit(main())
