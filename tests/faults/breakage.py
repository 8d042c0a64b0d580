"""Ways to make the world fail under a command: prepared in the command's own process, and done by the kernel."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

_CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.symlink": 1}
"""Audit events of a change, and which of their arguments is the path."""
BALLAST = "ballast"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class At:
    """Do something just before the first change of a file or folder whose path matches a pattern.

    do: receives the path. count: the number of the matching change to wait for.
    """

    pattern: str
    do: Callable[[Path], None]
    count: int = 1

    def __call__(self) -> None:
        seen = 0

        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            path = _changed(event, arguments)
            if path is not None and seen < self.count and fnmatch(path, self.pattern):
                seen += 1
                if seen == self.count:
                    self.do(Path(path))

        sys.addaudithook(hear)


def _changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    if event == "open":
        path, _, flags = arguments
        return os.fsdecode(path) if flags & _WRITES and isinstance(path, str | bytes | os.PathLike) else None
    return os.fsdecode(arguments[_CHANGES[event]]) if event in _CHANGES else None


def full_disk(path: Path) -> None:
    """No file can grow any more, but for a few bytes of `path`: what is being written is cut off."""
    size = path.stat().st_size if path.is_file() else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))


def fill(disk: Path, _path: Path) -> None:
    """Fill a small file system to its last byte."""
    with (disk / BALLAST).open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(b"0" * size)
            except OSError:
                continue


def die(number: signal.Signals, _path: Path) -> None:
    os.kill(os.getpid(), number)


def killed_at(pattern: str, number: signal.Signals = signal.SIGKILL, count: int = 1) -> At:
    """Get a signal just before a change."""
    return At(pattern, partial(die, number), count)


def little_memory(bytes_left: int, _path: Path) -> None:
    """The process may take so many bytes more than it has."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + bytes_left, resource.RLIM_INFINITY))


def obey_permissions() -> None:
    """Give up what lets a superuser write where the permissions forbid it."""
    libc = ctypes.CDLL(None, use_errno=True)
    version_3 = 0x20080522
    if libc.capset(struct.pack("Ii", version_3, 0), bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def alone(home: Path) -> None:
    """No network, and no home to write to. Ends the process with code 99 at the first attempt to reach a network."""
    for name in [name for name in os.environ if name.startswith(("HF_", "XDG_", "MPL"))]:
        del os.environ[name]
    os.environ["HOME"] = str(home)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            os.write(2, f"{event} {arguments[1:]}\n".encode())
            os._exit(99)

    sys.addaudithook(hear)


def clock(shift: timedelta) -> None:
    """Let forgetctl's clock go wrong by so much."""
    from forgetctl.files import writing as files

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Wrong:
            return super().now(tz) + shift

    vars(files)["datetime"] = Wrong
