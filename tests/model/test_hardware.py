"""What is said of the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
