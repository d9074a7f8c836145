"""What starting costs: one JSON line.

Processor time of `tapewatch --help` and of an empty Python; seconds from the start of the process
to the first connection of `watch` (to a simulator on this machine); resident memory of `watch`
after ten seconds. Best of several rounds.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROUNDS = 7
WATCH_ROUNDS = 3
TAPEWATCH = [sys.executable, "-m", "tapewatch"]


def cpu_ms(command: list[str]) -> float:
    """Processor time of a command, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1000


def resident_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def watched(venue: dict[str, str], folder: str) -> tuple[float, float]:
    """Seconds to the first connection, and megabytes after ten seconds."""
    command = [
        *TAPEWATCH, "watch", "kraken:BTC/USD", "--dir", folder, "--duration", "11",
        "--url", venue["url"], "--rest-url", venue["rest"],
    ]  # fmt: skip
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"connected in" in line:
                break
        connected_s = time.monotonic() - began
        time.sleep(10 - connected_s)  # noqa: TID251  a measurement, not a test
        memory = resident_mb(process.pid)
        process.stderr.read()
    return connected_s, memory


def main() -> None:
    """Measure and print."""
    os.environ["COLUMNS"] = "80"
    server = subprocess.Popen([*TAPEWATCH, "simulate", "kraken"], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        venue = json.loads(server.stdout.readline())
        with tempfile.TemporaryDirectory() as folder:
            runs = [watched(venue, folder) for _ in range(WATCH_ROUNDS)]
    finally:
        server.terminate()
        server.wait()
    empty = min(cpu_ms([sys.executable, "-c", ""]) for _ in range(ROUNDS))
    help_ms = min(cpu_ms([*TAPEWATCH, "--help"]) for _ in range(ROUNDS))
    result = {
        "bench": "startup",
        "help_cpu_ms": round(help_ms),
        "empty_python_cpu_ms": round(empty),
        "help_to_empty": round(help_ms / empty, 1),
        "first_connection_s": round(min(run[0] for run in runs), 2),
        "watch_resident_mb": round(max(run[1] for run in runs)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
