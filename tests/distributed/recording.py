"""`forgetctl` that notes which rows each process computes: `recording.py FOLDER ARGUMENTS...`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

import forgetctl.train.training
from forgetctl.cli.main import main
from forgetctl.train.schedule import MicroBatch, PairedBatches, Step
from forgetctl.train.trainer import ObjectiveTrainer

SEEN: dict[str, bool] = {}


class Trainer(ObjectiveTrainer):
    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        SEEN["sharded"] = all(isinstance(weight, DTensor) for weight in model.parameters())
        return super().training_step(model, inputs, num_items_in_batch)


class Recording(PairedBatches):
    """Writes a line for every step that is computed, which is when the process has a number."""

    def micro_batches(self, step: Step) -> list[MicroBatch]:
        parts = super().micro_batches(step)
        rows = [(role, row) for part in parts if part.counts for role, chosen in part.rows.items() for row in chosen]
        line = {"epoch": step.epoch, "step": list(step.rows["forget"]), "rows": rows, "parts": len(parts), **SEEN}
        with (FOLDER / f"{os.environ['RANK']}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return parts


if __name__ == "__main__":
    FOLDER = Path(sys.argv.pop(1))
    forgetctl.train.trainer.PairedBatches = Recording  # type: ignore[misc]
    forgetctl.train.training.ObjectiveTrainer = Trainer  # type: ignore[misc]
    main()
