"""What this machine is told before it computes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from forgetctl.engine.hardware import keep_freed_memory

FAULTS = """
import resource, sys, torch
from forgetctl.engine.hardware import keep_freed_memory

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
