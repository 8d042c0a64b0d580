"""Commands in real processes, which can really be killed, without each loading the libraries for eight seconds.

A server (multiprocessing's) has imported everything, and every command is a fork of it. That such a fork computes what
`python -m forgetctl` computes is tested in `test_kills`.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.preload"])

Preparation = Callable[[], None]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that killed it, and what it printed."""

    code: int
    out: str
    err: str


class Command:
    """A `forgetctl` command that runs in a process of its own."""

    def __init__(self, *arguments: object, prepare: Preparation | None = None) -> None:
        """prepare: called in the process before the command begins; must be picklable."""
        out, out_end = _context.Pipe(duplex=False)
        err, err_end = _context.Pipe(duplex=False)
        self._pipes = (out, err)
        given = tuple(str(argument) for argument in arguments)
        self._process = _context.Process(target=_run, args=(given, out_end, err_end, prepare))
        self._process.start()
        out_end.close()
        err_end.close()

    @property
    def running(self) -> bool:
        return self._process.exitcode is None

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> Ended:
        """Read until the command has ended; it is killed after `timeout` seconds, and AssertionError raised."""
        deadline = time.monotonic() + timeout
        texts: dict[Connection, bytes] = dict.fromkeys(self._pipes, b"")
        with selectors.DefaultSelector() as selector:
            for pipe in self._pipes:
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(deadline - time.monotonic())
                if not ready:
                    self._process.kill()
                    raise AssertionError(f"still running after {timeout} s")
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    texts[key.fileobj] += data  # type: ignore[index]
                    if not data:
                        selector.unregister(key.fileobj)
        self._process.join()
        for pipe in self._pipes:
            pipe.close()
        out, err = (texts[pipe].decode() for pipe in self._pipes)
        assert self._process.exitcode is not None
        return Ended(self._process.exitcode, out, err)


def forgetctl(*arguments: object, prepare: Preparation | None = None) -> Ended:
    """Run a command to its end."""
    return Command(*arguments, prepare=prepare).wait()


def _run(arguments: tuple[str, ...], out: Connection, err: Connection, prepare: Preparation | None) -> None:
    if "tests.faults.preload" not in sys.modules:
        raise RuntimeError("the server could not import tests.faults.preload")
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    # Whoever started the server may have had them ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = ["forgetctl", *arguments]
    if prepare is not None:
        prepare()
    from forgetctl.cli.main import main

    main()
