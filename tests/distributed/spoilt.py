"""`forgetctl` whose second process alone fails in the first step: `spoilt.py memory|loss ARGUMENTS...`."""

import os
import sys
from typing import Any

from forgetctl.cli.main import main
from forgetctl.train.trainer import ObjectiveTrainer

computed = ObjectiveTrainer.compute_loss


def out_of_memory(self: ObjectiveTrainer, *_: Any) -> Any:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: tried")


def no_number(self: ObjectiveTrainer, *inputs: Any) -> Any:
    return computed(self, *inputs) * float("nan")


if __name__ == "__main__":
    spoilt = {"memory": out_of_memory, "loss": no_number}[sys.argv.pop(1)]
    if os.environ["RANK"] == "1":
        ObjectiveTrainer.compute_loss = spoilt  # type: ignore[method-assign]
    main()
