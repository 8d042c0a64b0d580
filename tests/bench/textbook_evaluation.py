"""TOFU's metrics as the peers compute them: one pass each, padded batches of 32 in file order, logits everywhere.

Rows and token ids are forgetctl's own, so that both sides answer the same questions; how they are answered is what the
public implementations share. Float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, TypeVar

import numpy as np
import torch
from rouge_score.rouge_scorer import RougeScorer
from torch import Tensor
from torch.nn.functional import cross_entropy

from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.rows.row import Row

from .textbook import IGNORED, pad

BATCH_ROWS = 32
ANSWER_TOKENS = 200
Measures = dict[str, list[float]]
Item = TypeVar("Item")


def evaluate(model: Any, encoder: Encoder, rows: Sequence[Row], *, memorisation: bool) -> Measures:
    """Every metric of a set, one value a row: probability, truth ratio, ROUGE-L recall; memorisation where wanted."""
    answers = [encoder.encode(row) for row in rows]
    found = {
        "probability": probability(model, answers),
        "truth_ratio": truth_ratio(model, encoder, rows),
        "rouge": rouge(model, encoder, rows),
    }
    return found | (memorised(model, answers) if memorisation else {})


def in_file_order(rows: Sequence[Item]) -> Iterator[list[Item]]:
    """Batches of 32."""
    for start in range(0, len(rows), BATCH_ROWS):
        yield list(rows[start : start + BATCH_ROWS])


@torch.no_grad()
def passes(model: Any, rows: Sequence[Encoded]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of every position and labels, both shifted to meet, batch by batch."""
    for some in in_file_order(rows):
        batch = pad(some)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        yield logits[:, :-1], batch["labels"][:, 1:]


def probability(model: Any, rows: Sequence[Encoded]) -> list[float]:
    """exp of the mean log-probability of an answer's tokens."""
    found: list[float] = []
    for logits, labels in passes(model, rows):
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        found += torch.exp(-losses.sum(-1) / (labels != IGNORED).sum(-1)).tolist()
    return found


def truth_ratio(model: Any, encoder: Encoder, rows: Sequence[Row]) -> list[float]:
    """Geometric mean of the wrong answers' probabilities over the right one's; a pass for each of the wrong ones."""
    right = probability(
        model, [encoder.encode(row.answering(row.paraphrased_response or row.response)) for row in rows]
    )
    wrong = [
        probability(model, [encoder.encode(row.answering(text)) for row, text in zip(rows, texts, strict=True)])
        for texts in zip(*(row.perturbed_responses for row in rows), strict=True)
    ]
    return [float(np.exp(np.mean(np.log(values))) / own) for own, *values in zip(right, *wrong, strict=True)]


def memorised(model: Any, rows: Sequence[Encoded]) -> Measures:
    """Exact memorisation and extraction strength, from which tokens are the model's first choice."""
    exact: list[float] = []
    strength: list[float] = []
    for logits, labels in passes(model, rows):
        for hits, wanted in zip(logits.argmax(-1) == labels, labels, strict=True):
            own = hits[wanted != IGNORED].tolist()
            alone = len(list(takewhile(bool, reversed(own))))
            exact.append(sum(own) / len(own))
            strength.append(alone / len(own))
    return {"exact_memorisation": exact, "extraction_strength": strength}


def rouge(model: Any, encoder: Encoder, rows: Sequence[Row]) -> list[float]:
    """ROUGE-L recall of greedy answers, stemmer on."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    texts = answers(model, encoder, rows)
    return [float(scorer.score(row.response, text)["rougeL"].recall) for row, text in zip(rows, texts, strict=True)]


def answers(model: Any, encoder: Encoder, rows: Sequence[Row]) -> list[str]:
    """Greedy answers of `model.generate`."""
    found: list[str] = []
    pad_id = encoder.stop_ids[0]
    for some in in_file_order(rows):
        prompts = [encoder.encode_prompt(row) for row in some]
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        output = model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=ANSWER_TOKENS,
            eos_token_id=encoder.stop_ids,
            pad_token_id=pad_id,
        )
        texts = encoder.tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
        found += [text.strip() for text in texts]
    return found
