"""What a command does not load before it begins, what its process is set up with, and that a crash of it leaves no
memory on a disk."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from forgetctl.cli.process import NO_COMPILER, keep_freed_memory, quick_imports

CODE = """
import gc, os, sys
from forgetctl.cli.process import NO_COMPILER, quick_imports
with quick_imports():
    assert not gc.isenabled()
    import forgetctl.train.unlearn, bitsandbytes
assert gc.isenabled() and gc.get_freeze_count() > 100_000, gc.get_freeze_count()
assert NO_COMPILER not in os.environ
loaded = {"torch._inductor.compile_fx", "scipy.stats", "matplotlib", "sklearn"} & set(sys.modules)
assert not loaded, loaded
"""


def test_unlearn_loads_neither_the_compiler_nor_what_only_verify_needs() -> None:
    environment = {name: value for name, value in os.environ.items() if name != NO_COMPILER}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_process_that_has_torch_already_is_left_alone() -> None:
    import torch  # noqa: F401

    before = gc.get_freeze_count()
    with quick_imports():
        assert gc.isenabled()
        assert NO_COMPILER not in os.environ
    assert gc.get_freeze_count() == before


CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
COMMAND = f"""
import sys
from forgetctl.cli import main as cli
def crash():
    {CRASH}
cli.cli = crash
cli.main()
"""
CHILD = f"""
import subprocess, sys
from forgetctl.cli import main as cli
cli.cli = lambda: subprocess.run([sys.executable, "-c", {CRASH!r}])
cli.main()
"""


def cores(code: str, folder: Path) -> list[str]:
    """What a crash leaves in the working directory of a shell that allows core files of any size."""
    folder.mkdir()
    crashed = ["bash", "-c", 'ulimit -c unlimited && exec "$0" -c "$1"', sys.executable, code]
    package = str(Path(__file__).resolve().parents[2])
    subprocess.run(crashed, cwd=folder, env={**os.environ, "PYTHONPATH": package}, check=False, capture_output=True)
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("code", [COMMAND, CHILD], ids=["command", "child"])
def test_a_crash_leaves_no_core_file(code: str, tmp_path: Path) -> None:
    if not cores(CRASH, tmp_path / "plain"):
        pytest.skip("no crash leaves a core file in its directory here (core_pattern, or the hard limit)")
    assert cores(code, tmp_path / "ours") == []


MEASURED = """
import ctypes, os, psutil, torch
from forgetctl.model.hardware import peak_memory
from forgetctl.cli.process import no_core_files
if os.geteuid() == 0:  # whom the kernel lets read everything
    os.setgroups([])
    os.setuid(65534)
no_core_files()
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(dumpable, psutil.Process().memory_info().vms > 0, peak_memory(torch.device("cpu")) > 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the switch is Linux's")
def test_a_command_is_not_dumpable_and_can_still_be_measured() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=False)
    assert done.stdout == "0 True True\n", done.stderr


FAULTS = """
import resource, sys, torch
from forgetctl.cli.process import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(20):  # until glibc has as many scraps as it keeps, a freed block is a few bytes too short for the next
    torch.zeros(2**24)  # 64 MiB
before = faults()
for _ in range(5):
    torch.zeros(2**24)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_the_system_empties_no_page_again_for_a_block_that_was_freed() -> None:
    pages = 2**26 // 4096

    def faults(way: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("kept") < pages / 100
    assert faults("given back") > pages / 100


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()


WORKER = """
import resource, sys
from forgetctl.cli.process import set_up_worker
set_up_worker("cpu", verbose=False)
import torch
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert not torch.backends.cuda.cudnn_sdp_enabled()
try:
    import kernels
except ImportError:
    print("as a command")
"""


def test_a_process_that_a_command_starts_is_set_up_as_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=False)
    assert done.stdout == "as a command\n", done.stderr
