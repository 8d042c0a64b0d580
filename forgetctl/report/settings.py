"""The recipe's settings, each with its meaning in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MEANINGS = {
    "method": "loss that was minimised",
    "terms": "the loss as weighted terms, where no method is named",
    "terms.*": "weight of this term of the loss",
    "beta": "how early NPO stops pulling at a row",
    "hyperparameters": "other numbers of the loss",
    "hyperparameters.*": "a number of the loss",
    "layer": "the layer that RMU steers",
    "forget_weight": "weight of the terms on forget rows",
    "retain_weight": "weight of the terms on retain rows",
    "learning_rate": "highest step size of the optimizer",
    "epochs": "passes over the forget rows",
    "batch_size": "forget rows per optimizer step",
    "micro_batch_size": "most rows computed at once; none: as many as fit; does not change the result",
    "optimizer": "AdamW, its moments in float32 or in 8 bits",
    "weight_decay": "pull of the weights towards zero",
    "anchor": "share of the way back to the start model's weights after every step",
    "calibration": "how forgetting ends at levels learned from a holdout; none: it does not",
    "calibration.weight": "weight of the pull of each forget row to its level",
    "calibration.stand_ins": "weight of saying after forget prompts what the start model says after unseen ones",
    "calibration.share": "share of the holdout that levels are learned from; the rest is left for the verdict",
    "warmup_epochs": "epochs over which the step size rises",
    "max_grad_norm": "longer gradients are shortened to this",
    "max_retain_kl": "divergence from the start model on retain rows, in nats a token, at which training stops",
    "seed": "start of every random choice",
    "precision": "number format of the computation",
    "weights": "how weights are held in training; auto: float32",
    "max_length": "longer rows are cut here; none: they are refused, or windows if they are passages",
    "passages.window": "tokens of a window of a passage that is longer; none: the model's context",
    "passages.overlap": "share of a window that repeats the end of the one before and is not scored again",
    "prompt_format": "how a prompt is put to a model without a chat template",
    "lora": "low-rank adapters; none: whole weights were trained",
    "lora.rank": "size of the adapters",
    "lora.alpha": "scale of the adapters",
    "lora.dropout": "share of adapter inputs left out at random",
    "lora.targets": "modules that have adapters",
    "lora.quantisation": "of the weights that the adapters leave alone",
    "request.level": "how often a row that nobody saw passes for one that the start model knows",
    "request.unknown_share": "share of forget rows unknown to the start model from which the owner must approve",
    "request.overlap_share": "share of other retain rows that the request excludes from which the owner must approve",
    "request.forget_share": "forget rows for each retain row from which the owner must approve",
    "request.common_share": "share of retain rows that hold a word from which it is common",
    "request.common_words": "longest response that is flagged as common, in words",
    "retain.ratio": "retain rows to train on, per forget row",
    "retain.minimum": "fewest retain rows",
    "retain.nearest_share": "share chosen for nearness to the forget rows",
    "retain.near_duplicate": "similarity, 0 to 100, from which a row is kept out",
    "retain.check_share": "share kept out of training to measure damage",
    "retain.check_rows": "most rows kept for that",
    "retain.answer_tokens": "longest self-made answer",
    "verify.delta": "largest distance D still called equal",
    "verify.utility_loss": "largest relative fall of a measure of usefulness that is no damage",
    "verify.distractors": "wrong answers per row where the request has none",
    "verify.pass_level": "how often a check may pass by chance",
    "verify.fail_level": "how often a check may fail by chance",
    "verify.answer_tokens": "longest generated answer",
    "verify.primed_tokens": "first tokens of a response that are given away, to see whether the rest comes out",
    "verify.affirmation": "how a willing answer is made to begin, to see whether the rest comes out",
    "verify.samples": "answers drawn at random for each row asked so",
    "verify.sampled_rows": "most rows that answers are drawn for",
    "verify.relearn_learning_rate": "step size of the relearning attack; none: the learning rate above",
}


SCORING = ("seed", "precision", "max_length", "passages", "prompt_format", "verify")
RELEARNING = ("learning_rate", "micro_batch_size", "lora")


def scoring_settings(recipe: Mapping[str, Any], *, relearned: bool) -> dict[str, Any]:
    """The part of a recipe that matters where nothing was unlearned. relearned: with the relearning attack."""
    kept = (*SCORING, *RELEARNING) if relearned else SCORING
    return {key: value for key, value in recipe.items() if key in kept}


def settings(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted names, values and meanings of a recipe's settings, without its own description."""
    for key, value in recipe.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from settings(value, f"{name}.")
        elif prefix or key not in ("description", "source"):
            yield name, _shown(value), MEANINGS.get(name) or MEANINGS.get(f"{prefix}*", "")


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)).replace("\n", "\\n")
