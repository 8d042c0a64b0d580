"""NPO+RT as the peers run it: transformers.Trainer, a second whole model, everything padded, logits everywhere.

Rows, pairing and order are forgetctl's own, so that both sides compute the same loss; how it is computed is what the
public implementations share: two forwards a micro-batch, the start model's scores made again every time, batches padded
to their longest row as they come, cross-entropy over the logits of every position, float32.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForCausalLM, Trainer

from forgetctl.model.encoding import Encoded
from forgetctl.recipe.recipe import Lora

IGNORED = -100
BETA = 0.1


def load(path: Path) -> Any:
    """The model in float32, with the layers that transformers gives it; the benchmark's have no dropout."""
    return AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32)


def with_adapters(model: Any, lora: Lora) -> Any:
    """peft's adapters, in every layer that the recipe names."""
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets)
    return get_peft_model(model, config)


class Pairs(Dataset[tuple[Encoded, Encoded]]):
    """Forget rows with their retain partners, in the order in which they are used."""

    def __init__(self, pairs: list[tuple[Encoded, Encoded]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Encoded, Encoded]:
        return self.pairs[index]


def collate(pairs: list[tuple[Encoded, Encoded]]) -> dict[str, dict[str, Tensor]]:
    """Forget and retain rows as two padded batches with labels."""
    return {"forget": pad([forget for forget, _ in pairs]), "retain": pad([retain for _, retain in pairs])}


def pad(rows: list[Encoded]) -> dict[str, Tensor]:
    """Rows padded to the longest, prompts and padding ignored in the labels."""
    length = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for index, row in enumerate(rows):
        size = len(row.ids)
        ids[index, :size] = torch.tensor(row.ids)
        mask[index, :size] = 1
        labels[index, row.start : size] = ids[index, row.start : size]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def logp(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Summed log-probability of each row's answer, from the logits of every position."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    losses = cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]),
        batch["labels"][:, 1:].reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
    )
    return -losses.view(len(logits), -1).sum(-1)


class TextbookTrainer(Trainer):
    """NPO+RT with a deep copy of the start model beside the trained one."""

    def __init__(
        self, model: Any, *, start: Any, pairs: list[tuple[Encoded, Encoded]], step_tokens: Any, **options: Any
    ):
        super().__init__(model=model, train_dataset=Pairs(pairs), data_collator=collate, **options)
        self.start = start
        self.step_tokens = step_tokens
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The pairs in the given order."""
        size = self.args.per_device_train_batch_size
        return self.accelerator.prepare(DataLoader(self.train_dataset, size, collate_fn=collate))  # type: ignore[no-any-return]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """NPO's mean over the step's rows plus RT's mean over the step's tokens: this micro-batch's share of both."""
        forget, retain = inputs["forget"], inputs["retain"]
        with torch.no_grad():
            before = logp(self.start, forget)
        npo = -(2 / BETA) * logsigmoid(-BETA * (logp(model, forget) - before)).sum()
        rows = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return npo / rows - logp(model, retain).sum() / self.step_tokens(self.state.global_step)


def start_model(model: Any) -> Any:
    """The second whole model in memory."""
    return deepcopy(model).eval().requires_grad_(False)
