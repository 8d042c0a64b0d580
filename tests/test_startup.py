"""What a command does not load before it begins."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

from forgetctl.startup import NO_COMPILER, quick_imports

CODE = """
import gc, os, sys
from forgetctl.startup import NO_COMPILER, quick_imports
with quick_imports():
    assert not gc.isenabled()
    import forgetctl.jobs.unlearn, bitsandbytes
assert gc.isenabled() and gc.get_freeze_count() > 100_000, gc.get_freeze_count()
assert NO_COMPILER not in os.environ
loaded = {"torch._inductor.compile_fx", "scipy.stats", "matplotlib", "pandas", "datasets", "sklearn"} & set(sys.modules)
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
