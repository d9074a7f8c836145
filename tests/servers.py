"""Real servers on loopback for tests: Redis, NATS with JetStream, and librdkafka's mock of Kafka.

Each context manager starts one on a free port, waits until it answers, gives its address, and ends
it whatever happens. Data live in a temporary folder. `.process` is there to be stopped or killed,
`.restart()` brings the same server back on the same port with what it had on disk.
"""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

ANSWERS_S = 20.0  # real seconds; a guard, not a measurement


class Server:
    """One running server; `url` is what a client needs."""

    def __init__(self, command: Sequence[str], port: int, url: str, hello: bytes) -> None:
        self.url, self.port = url, port
        self._command, self._hello = command, hello
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet, stdin=quiet)
        try:
            _wait(process, self.port, self._hello)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """The same server again, with what was on its disk."""
        self.kill()
        self.process = self._start()


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[Server]:
    """A Redis with append-only persistence, and further `options` of redis-server."""
    binary = _binary("redis-server")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        command += ["--save", "", "--appendonly", "yes", *options]
        with _running(Server(command, port, f"redis://127.0.0.1:{port}/0", b"PING\r\n")) as server:
            yield server


@contextlib.contextmanager
def nats_server() -> Iterator[Server]:
    """A NATS server with JetStream."""
    binary = _binary("nats-server")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder]
        with _running(Server(command, port, f"nats://127.0.0.1:{port}", b"")) as server:
            yield server


@contextlib.contextmanager
def kafka_broker() -> Iterator[str]:
    """`kafka://host:port` of a mock broker that speaks the protocol over TCP."""
    kafka = pytest.importorskip("confluent_kafka")
    keeper: Any = kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(keeper.list_topics(timeout=ANSWERS_S).brokers.values()))
    yield f"kafka://{broker.host}:{broker.port}"
    keeper.purge()
    keeper.flush(1)


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.kill()


def _binary(name: str) -> str:
    beside = pathlib.Path(sys.executable).parent / name  # the wheels put theirs here
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def _wait(process: "subprocess.Popen[bytes]", port: int, hello: bytes) -> None:
    """Until the server answers `hello` (or greets by itself), or has ended."""
    for _ in range(int(ANSWERS_S / 0.05)):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=0.05) as link:
                link.settimeout(1.0)
                link.sendall(hello)
                if link.recv(64):
                    return
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    raise RuntimeError(f"{process.args!r} does not answer")
