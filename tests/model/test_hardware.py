"""What this machine is told before it computes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from forgetctl.model.hardware import keep_freed_memory

FAULTS = """
import resource, sys, torch
from forgetctl.model.hardware import keep_freed_memory

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


PEAK = """
import sys, torch
from forgetctl.model.hardware import peak_memory
before = peak_memory(torch.device("cpu"))
torch.ones(2**26)  # 256 MiB
print(before, peak_memory(torch.device("cpu")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells the peak in another way")
def test_the_peak_is_of_this_process_and_not_of_the_one_that_started_it() -> None:
    large = f"import subprocess, sys; held = bytearray(3 * 2**30); subprocess.run([sys.executable, '-c', {PEAK!r}])"
    done = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < 2**30
    assert 2**28 <= after - before < 1.1 * 2**28


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
