"""Who holds a TCP port of this machine, for the message that it is taken. Linux only: elsewhere the
message names no process."""

import pathlib
from typing import Final

from tapewatch.model.text import clean

_LISTEN: Final = "0A"  # state of a listening socket in /proc/net/tcp (proc(5))


def taken_text(port: int) -> str:
    """`Port 8765 is used by pid 4123 (python). ...`"""
    owner = _owner(port)
    who = f"is used by {owner}" if owner else "is in use"
    return f"Port {port} {who}. Fix it with --port, or stop the other one."


def _owner(port: int) -> str:
    """`pid 4123 (python)`, or nothing when it is not ours to see."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return ""
    for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in sockets:
                name = (link.parent.parent / "comm").read_text().strip()
                return f"pid {link.parent.parent.name} ({clean(name, 40)})"
        except OSError:  # the process ended, or belongs to someone else
            continue
    return ""


def _inodes(port: int) -> list[str]:
    found: list[str] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = pathlib.Path(table).read_text().splitlines()[1:]
        except OSError:  # not Linux
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found
