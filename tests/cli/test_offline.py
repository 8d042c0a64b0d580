"""No command reaches a hub or loads code from one: in processes where both would be seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from forgetctl.cli.process import HUB_KERNELS, OFFLINE, isolated
from forgetctl.demo.training import save, tiny_llama
from tests.world import write_people

KERNELS = """
from pathlib import Path
with Path({seen!r}).open("a") as file:
    file.write("imported\\n")
def __getattr__(name):
    with Path({seen!r}).open("a") as file:
        file.write(name + "\\n")
    raise AttributeError(name)
"""
GUARDED = """
import socket, sys
from pathlib import Path
def refuse(self, address, *_):
    with Path({seen!r}).open("a") as file:
        file.write(f"connect {{address}}\\n")
    raise OSError("no network in a test")
socket.socket.connect = socket.socket.connect_ex = refuse
def resolve(host, *_, **__):
    with Path({seen!r}).open("a") as file:
        file.write(f"resolve {{host}}\\n")
    raise OSError("no network in a test")
socket.getaddrinfo = resolve
{code}
"""
COMMAND = "from forgetctl.cli.main import cli\ncli(sys.argv[1:])"
LIBRARIES = "import kernels, huggingface_hub\nhuggingface_hub.model_info('a/b')"
"""What bitsandbytes and transformers do, the first where the processor has AVX-512 BF16."""
QUICK = ("--set", "epochs=1", "--set", "verify.samples=2", "--set", "verify.answer_tokens=8")


class Machine:
    """Where the package `kernels` is installed, and every use of it or of the network is written down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, folder / "seen.txt"
        package, facts = folder / "site" / "kernels", folder / "site" / "kernels-0.15.2.dist-info"
        package.mkdir(parents=True)
        facts.mkdir()
        (package / "__init__.py").write_text(KERNELS.format(seen=str(self.seen)))
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.15.2\n")

    def run(self, *arguments: str, code: str = COMMAND) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_HUB")}
        paths = os.pathsep.join([str(self.folder / "site"), *filter(None, sys.path)])
        return subprocess.run(
            [sys.executable, "-c", GUARDED.format(seen=str(self.seen), code=code), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )

    def noted(self) -> set[str]:
        return set(self.seen.read_text().splitlines()) if self.seen.exists() else set()


def build(folder: Path, names: Iterable[str]) -> None:
    tokenizer = write_people(folder, 8, 1)
    for seed, name in enumerate(names):
        save(tiny_llama(len(tokenizer), seed, width=64), tokenizer, folder / name)
        file = folder / name / "config.json"
        config = json.loads(file.read_text()) | {"attn_implementation": "kernels-community/flash-attn2@main"}
        file.write_text(json.dumps(config))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("offline")
    build(folder, ("model", "reference"))
    return Machine(folder)


def test_the_guard_sees_what_the_libraries_do_by_themselves(tmp_path: Path) -> None:
    """So that what follows can fail."""
    machine = Machine(tmp_path)
    machine.run(code=LIBRARIES)
    assert "imported" in machine.noted()
    assert any(line.startswith("resolve ") for line in machine.noted())


FILES = ("--model", "model", "--forget", "requests.jsonl", "--retain", "remaining.jsonl")


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        (("unlearn", *FILES, *QUICK, "--out", "dry", "--dry-run"), {0}),
        (("unlearn", *FILES, *QUICK, "--out", "full"), {0}),
        (("unlearn", *FILES, *QUICK, "--out", "qlora", "--qlora", "-v"), {0}),
        (("verify", "full", "--reference", "reference", "--precision", "nf4"), {0, 3, 4}),
        (("reference", "--base", "model", "--retain", "remaining.jsonl", "--epochs", "1", "--out", "made"), {0}),
        (("unlearn", "--model", "owner/repo", *FILES[2:], "--out", "named"), {2}),
    ],
    ids=["dry-run", "unlearn", "qlora", "verify", "reference", "hub-id"],
)
def test_a_command_neither_reaches_a_hub_nor_loads_code_from_one(
    machine: Machine, arguments: tuple[str, ...], codes: set[int]
) -> None:
    done = machine.run(*arguments)
    assert done.returncode in codes, done.stderr
    assert machine.noted() == set()
    assert "kernels-community:" not in done.stderr  # bitsandbytes' warning that it misses the package
    assert "Traceback" not in done.stderr
    told = [
        line for line in done.stderr.splitlines() if "kernels-community/flash-attn2@main, which is not used" in line
    ]
    assert bool(told) is ("owner/repo" not in arguments)


def test_a_download_that_is_allowed_reaches_the_hub_and_loads_no_code(machine: Machine) -> None:
    done = machine.run("unlearn", "--model", "owner/repo", *FILES[2:], "--out", "named", "--allow-download")
    noted = machine.noted()
    machine.seen.unlink(missing_ok=True)
    assert done.returncode == 2
    assert "owner/repo: could not be downloaded" in done.stderr
    assert any(line.startswith("resolve ") for line in noted)
    assert "imported" not in noted


def test_a_process_is_as_before_when_a_command_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setenv(OFFLINE, "0")
    monkeypatch.setattr(constants, OFFLINE, False)
    for allowed in (True, False):
        with isolated(allow_download=allowed):
            assert huggingface_hub.is_offline_mode() is not allowed
            assert os.environ[OFFLINE] == ("0" if allowed else "1")
            with pytest.raises(ImportError):
                __import__(HUB_KERNELS)
        assert not huggingface_hub.is_offline_mode()
        assert os.environ[OFFLINE] == "0"
        assert HUB_KERNELS not in sys.modules
