"""Commands one after another in this process, each as in a terminal, with the network denied and no umask.

python -m tests.privacy.pipeline COMMANDS.json: a list of {"argv": [...], "fail": [module, name, error] or null}. The
named function is replaced by one that raises, with the text of COMMANDS.json's "message". Exit codes are printed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
ERRORS: dict[str, type[BaseException]] = {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}


def deny(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: nothing in this process, whatever its library, opens a connection unseen."""
    if event in NETWORK:
        print(f"NETWORK {event} {arguments[1:]}", flush=True)
        raise PermissionError(13, "no network here")


def broken(place: str, error: str, message: str) -> Any:
    module, _, name = place.partition(":")
    target: Any = importlib.import_module(module)
    *parents, last = name.split(".")
    for parent in parents:
        target = getattr(target, parent)

    def fail(*_: object, **__: object) -> NoReturn:
        raise ERRORS[error](message)

    return patch.object(target, last, fail)


def main() -> None:
    sys.addaudithook(deny)
    os.umask(0)
    from forgetctl.cli.main import cli

    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for command in told["commands"]:
        with ExitStack() as held:
            if command["fail"]:
                held.enter_context(broken(*command["fail"], told["message"]))
            sys.argv = ["forgetctl", *command["argv"]]
            try:
                cli(command["argv"])
            except SystemExit as end:
                print(f"EXIT {end.code} {command['argv'][0]}", flush=True)
        sys.stderr.flush()


if __name__ == "__main__":
    main()
