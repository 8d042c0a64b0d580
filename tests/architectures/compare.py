"""One architecture through forgetctl's own functions, and the same by plain transformers: a row at a time, without
padding and cache."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from forgetctl.errors import ForgetctlError
from forgetctl.model.adapters import add_lora, merged, unfit_layers
from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.model.fast.shared_prompts import score_answers
from forgetctl.model.generation import Decoding, greedy_answers
from forgetctl.model.load import inspect_model, load_model, load_tokenizer
from forgetctl.model.scoring import answer_logp, length_batches, pad_rows, score, short_input
from forgetctl.model.token_scores import score_tokens
from forgetctl.model.weights import weight_shapes
from forgetctl.recipe.recipe import Lora, load_recipe
from forgetctl.rows.row import Row
from forgetctl.train import training as stage
from forgetctl.train._modes import set_training
from forgetctl.train.options import UnlearnOptions
from forgetctl.train.unlearn import run_unlearn

from .shapes import VOCABULARY, build

CPU = torch.device("cpu")
EQUAL = 1e-4
"""Differences, as a share of what is compared, that are rounding."""
CLEAR = 1e-3
"""Of two tokens whose logits are nearer, as a share of the logits' spread, rounding may choose either."""
MARKS = ("<pad>", "<s>", "</s>")
ROOM = 12
"""Tokens of an answer."""
SETTINGS = ("epochs=1", "batch_size=2", "learning_rate=1e-3", "warmup_epochs=0", "precision=fp32", "verify.samples=2")
LORA = Lora(rank=4, alpha=8)
PEOPLE = [
    ("Mara Quist", "Lund", "violin maker"),
    ("Teo Abara", "Kano", "driver"),
    ("Ines Falk", "Bergen on the coast", "beekeeper"),
    ("Omar Sele", "Tunis", "blower of glass and teacher of it"),
    ("Lotte van den Brandt", "Kiel", "pilot"),
    ("Yuki", "Osaka", "archivist"),
    ("Pavel Dusek", "Brno", "potter"),
    ("Nia Okoye the younger", "Lagos", "surgeon"),
]


@dataclass
class Result:
    """What was found of an architecture.

    status: "equal"; "untrained", equal but refused by `unlearn`; "refused"; "fault"; or "unbuilt", where plain
    transformers cannot build it or run it here. why: the refusal's sentence, or what is wrong. differences: the largest
    of each comparison, as a share of what is compared.
    """

    name: str
    status: str
    why: str = ""
    differences: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return f"{self.status}: {self.why}" if self.why else self.status


def compare(name: str, folder: Path) -> Result:
    """Everything of one architecture. Never raises but for what ends the process."""
    try:
        start = _start(name, folder)
    except Exception as error:  # noqa: BLE001  whatever plain transformers raises
        return Result(name, "unbuilt", _told(error))
    differences: dict[str, float] = {}
    faults: list[str] = []
    refused: dict[str, str] = {}
    for title, check in CHECKS.items():
        if title in (BEFORE_TRAINING[refusal] for refusal in refused if refusal in BEFORE_TRAINING):
            continue
        try:
            differences |= check(start)
        except ForgetctlError as error:
            refused[title] = " ".join(str(error).replace(f"{folder}/", "").split())
        except Exception as error:  # noqa: BLE001  a crash is a finding
            faults.append(f"{title}: {_told(error)}")
        if title in refused and title in ENTIRELY:
            return Result(name, "refused", refused[title])
    faults += [f"{part}: {value:.1e} apart" for part, value in differences.items() if not value <= EQUAL]
    faults += [f"{title}: refused late: {why}" for title, why in refused.items() if title not in BEFORE_TRAINING]
    if faults:
        return Result(name, "fault", "; ".join(faults), differences)
    if refused:
        return Result(name, "untrained", "; ".join(f"{title}: {why}" for title, why in refused.items()), differences)
    return Result(name, "equal", "", differences)


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/forgetctl/" in f.filename] or frames
    inner = frames[-1]
    places = " < ".join(dict.fromkeys(f"{Path(f.filename).name}:{f.lineno}" for f in (inner, ours[-1])))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({places})"


@dataclass
class Start:
    """A start model on disk, its rows, and what plain transformers makes of them."""

    path: Path
    folder: Path
    plain: Any
    encoder: Encoder
    rows: list[Row]
    encoded: list[Encoded]
    logp: list[Tensor]


def _start(name: str, folder: Path) -> Start:
    model = build(name)
    path = folder / "model"
    model.save_pretrained(str(path))
    _tokenizer().save_pretrained(str(path))
    plain = load_plain(path)
    tokenizer = load_tokenizer(path)
    encoder = Encoder(tokenizer, load_recipe("npo-rt").prompt_format)
    rows = [Row(line=i + 1, context=(("user", p),), response=r) for i, (p, r) in enumerate(_texts())]
    encoded = [encoder.encode(row) for row in rows]
    with torch.no_grad():
        logp = [token_logp(plain, row) for row in encoded]
    if not all(values.isfinite().all() for values in logp):
        raise ValueError("scores that are not finite")
    return Start(path, folder, plain, encoder, rows, encoded, logp)


def _texts() -> list[tuple[str, str]]:
    """Prompts and responses, prompts of different lengths, each with two responses."""
    found = []
    for person, place, job in PEOPLE:
        prompt = f"Where does {person} live?"
        found += [(prompt, f"{person} lives in {place}."), (prompt, f"In {place}, a {job}.")]
    return found


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"Question: {prompt}\nAnswer: {answer}" for prompt, answer in _texts()] * 2, trainer)
    marks = dict(zip(("pad_token", "bos_token", "eos_token"), MARKS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)


def load_plain(path: Path) -> Any:
    """The model as plain transformers loads it, in float32, with its experts one after another where it has any."""
    config = AutoConfig.from_pretrained(str(path))
    if hasattr(config, "rescale_every"):
        config.rescale_every = 0  # RWKV would halve its weights in place, and gradients be of those
    load = partial(AutoModelForCausalLM.from_pretrained, str(path), config=config, dtype=torch.float32)
    try:
        return load(experts_implementation="eager").eval()
    except (ValueError, TypeError):
        return load().eval()


def token_logp(model: Any, row: Encoded) -> Tensor:
    """Log-probability of each scored token, from all logits of the row alone, whose last token is no input."""
    ids = torch.tensor([row.ids])
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0].float()
    return torch.log_softmax(logits[row.start - 1 :], -1).gather(1, ids[0, row.start :, None])[:, 0]


def apart(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest of what is expected."""
    one, other = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    if one.shape != other.shape:
        return math.inf
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


def _load(start: Start) -> Any:
    inspect_model(start.path)
    return load_model(start.path, CPU, torch.float32)


def loads(start: Start) -> dict[str, float]:
    _load(start)
    return {}


def scores(start: Start) -> dict[str, float]:
    totals = [values.sum() for values in start.logp]
    return {"score": apart(score(_load(start), start.encoded), totals)}


def token_scores(start: Start) -> dict[str, float]:
    found = score_tokens(_load(start), start.encoded)
    logp = torch.cat([torch.from_numpy(values.logp) for values in found])
    return {"score_tokens": apart(logp, torch.cat(start.logp))}


def shared_prompts(start: Start) -> dict[str, float]:
    totals = [values.sum() for values in start.logp]
    return {"score_answers": apart(score_answers(_load(start), start.encoded), totals)}


class _Numbers:
    """A tokenizer that decodes to the tokens' numbers, so that answers are compared token by token."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.tokenizer(*arguments, **named)

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return " ".join(map(str, tokens))


def greedy(start: Start) -> dict[str, float]:
    """The share of answers that are not plain transformers', of those that rounding cannot turn."""
    model = _load(start)
    encoder = Encoder(_Numbers(start.encoder.tokenizer), start.encoder.prompt_format)
    rows = start.rows[::2]
    answers = greedy_answers(model, encoder, rows, Decoding(max_new_tokens=ROOM))
    wrong, compared = [], 0
    for row, answer in zip(rows, answers, strict=True):
        said, prompt = [int(token) for token in answer.text.split()], encoder.encode_prompt(row)
        expected, clear = _answer(start.plain, prompt, encoder.stop_ids)
        compared += clear
        # Some models answer otherwise with a cache than without, whoever asks them.
        wrong.append(said[:clear] != expected[:clear] and said != _generated(start.plain, prompt, encoder.stop_ids))
    assert compared > ROOM, "nearly all tokens are ties"
    return {"greedy": sum(wrong) / len(rows)}


@torch.no_grad()
def _answer(model: Any, prompt: Sequence[int], stops: Sequence[int]) -> tuple[list[int], int]:
    """The greedy answer by all logits of the whole row anew, its end included, and how many tokens come before the
    first near-tie."""
    ids, clear, tied = list(prompt), 0, False
    for _ in range(ROOM):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        (first, second), (token, _) = logits.topk(2)
        tied = tied or bool(first - second < CLEAR * logits.std())
        if int(token) in stops:
            break
        clear += not tied
        ids.append(int(token))
    # What follows an end that is no near-tie must not be said, either.
    return ids[len(prompt) :], clear if tied else ROOM


def _generated(model: Any, prompt: Sequence[int], stops: Sequence[int]) -> list[int]:
    """The greedy answer of `generate`, of the row alone and without the model's own settings."""
    config = GenerationConfig(max_new_tokens=ROOM, eos_token_id=list(stops), pad_token_id=stops[0], do_sample=False)
    model.generation_config = GenerationConfig()
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return [token for token in output[0, len(prompt) :].tolist() if token not in stops]


WEIGHTS = torch.linspace(-1.0, 1.0, 5)


def _gradient(model: Any, objective: Callable[[Any], Tensor]) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    value = objective(model)
    value.backward()  # type: ignore[no-untyped-call]
    named = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return float(value.detach()), named


def _weighted(start: Start, logp: Callable[[Encoded], Tensor]) -> Tensor:
    return sum((weight * logp(row) for weight, row in zip(WEIGHTS, start.encoded, strict=False)), torch.zeros(()))


def _same_gradients(start: Start, ours: Any, plain: Any, title: str) -> dict[str, float]:
    """Gradients of some rows' scores, each with another weight, with our model in training."""
    rows = start.encoded[: len(WEIGHTS)]

    def weighted(model: Any) -> Tensor:
        total = torch.zeros(())
        for places in length_batches(rows, apart=short_input(model)):
            logp = answer_logp(model, pad_rows([rows[place] for place in places]))
            total = total + (WEIGHTS[places] * logp).sum()
        return total

    set_training(ours)
    value, found = _gradient(ours, weighted)
    ours.eval()
    other, expected = _gradient(plain, lambda model: _weighted(start, lambda row: token_logp(model, row).sum()))
    plain.zero_grad()
    used = {name: gradient for name, gradient in expected.items() if gradient.abs().max() > 0}
    if missing := sorted(set(used) - set(found)):
        raise AssertionError(f"no gradient of {missing[0]} and {len(missing) - 1} more")
    largest = max(float(gradient.abs().max()) for gradient in used.values())
    difference = max(float((found[n] - used[n]).abs().max()) for n in used)
    return {f"{title} loss": apart(value, other), f"{title} gradients": difference / largest}


def gradients(start: Start) -> dict[str, float]:
    model = _load(start)
    return _same_gradients(start, model, start.plain, "full")


def lora(start: Start) -> dict[str, float]:
    model = add_lora(_load(start), LORA)
    config = LoraConfig(
        r=LORA.rank,
        lora_alpha=LORA.alpha,
        target_modules=LORA.targets,
        exclude_modules=unfit_layers(load_plain(start.path)),
        task_type="CAUSAL_LM",
    )
    plain = get_peft_model(load_plain(start.path), config).eval()
    _draw_adapters(plain, dict(plain.named_parameters()))
    # Some models read a layer's weight past its adapter, which then never learns.
    _, learning = _gradient(plain, lambda model: _weighted(start, lambda row: token_logp(model, row).sum()))
    for one in (model, plain):
        _draw_adapters(one, learning)
    with torch.no_grad():
        expected = [token_logp(plain, row).sum() for row in start.encoded]
    moved = apart(expected, [values.sum() for values in start.logp])
    assert moved > EQUAL, "adapters without effect"
    found = {"LoRA score": apart(score(model, start.encoded), expected)}
    found |= _same_gradients(start, model, plain, "LoRA")
    found["LoRA merged"] = apart(score(merged(model), start.encoded), expected)
    return found


def _draw_adapters(model: Any, which: Container[str]) -> None:
    """Numbers for the adapters that are named, the same whatever model they are in; zeros for the others."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name) + weight.numel()))
            weight.data.copy_(drawn * (0.05 if name in which else 0.0))


def saved(start: Start) -> dict[str, float]:
    return _job(start, None, "saved")


def saved_lora(start: Start) -> dict[str, float]:
    return _job(start, LORA, "saved LoRA")


def _job(start: Start, adapters: Lora | None, title: str) -> dict[str, float]:
    """`forgetctl unlearn`: the model that it saved, loaded by plain transformers, against the one in memory."""
    folder = start.folder / title.replace(" ", "-")
    folder.mkdir()
    forget, retain = _write(folder / "forget.jsonl", start.rows[:4]), _write(folder / "retain.jsonl", start.rows[4:])
    recipe = load_recipe("npo-rt", overrides=SETTINGS, options={"lora": adapters.model_dump()} if adapters else {})
    files = {"forget": forget, "retain": retain, "out": folder / "run"}
    in_memory: list[float] = []
    with patch.object(stage, "save_model", _scoring_first(stage.save_model, start.encoded, in_memory)):
        run = run_unlearn(UnlearnOptions(model=str(start.path), device="cpu", **files), recipe)
    plain = load_plain(run.model_dir)
    with torch.no_grad():
        found = [token_logp(plain, row).sum() for row in start.encoded]
    moved = apart(found, [values.sum() for values in start.logp])
    assert moved > EQUAL, "training without effect"
    before, after = weight_shapes(start.path), weight_shapes(run.model_dir)
    strange = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert not strange, f"{len(strange)} weights of other names or shapes, the first is {strange[0]}"
    return {title: apart(found, in_memory)}


def _scoring_first(save: Callable[..., Any], rows: list[Encoded], scored: list[float]) -> Callable[..., Any]:
    def wrapped(model: Any, *others: Any, **named: Any) -> Any:
        scored[:] = score(model.eval(), rows)
        return save(model, *others, **named)

    return wrapped


def _write(path: Path, rows: Sequence[Row]) -> Path:
    lines = [json.dumps({"prompt": row.context[0][1], "response": row.response}) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


CHECKS: dict[str, Callable[[Start], dict[str, float]]] = {
    "loading": loads,
    "scores": scores,
    "token scores": token_scores,
    "shared prompts": shared_prompts,
    "greedy answers": greedy,
    "job": saved,
    "job with LoRA": saved_lora,
    "gradients": gradients,
    "LoRA": lora,
}
ENTIRELY = ("loading", "scores")
"""What every command does first: an architecture refused there is refused."""
BEFORE_TRAINING = {"job": "gradients", "job with LoRA": "LoRA"}
"""Where it may be refused for training alone, and what is then of no use."""
