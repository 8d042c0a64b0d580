"""Models whose tokenizers do the same share an encoder, and what it encoded; others do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from forgetctl.errors import InputError, TemplateRefusal
from forgetctl.model.encoders import Encoders
from forgetctl.model.encoding import Encoder, Rendered, encode_rows
from forgetctl.model.load import inspect_model, load_encoder
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: shutil.copytree(world / "model", tmp_path / name)


def changed(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_models_that_read_alike_share_an_encoder(world: Path, copy: Callable[[str], Path]) -> None:
    encoders = Encoders()
    models = [inspect_model(path) for path in (world / "model", world / "reference", copy("copy"))]
    assert len({id(encoders.of(facts, "{prompt}")) for facts in (*models, *models)}) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda model: changed(model / "tokenizer_config.json", clean_up_tokenization_spaces=True),
        lambda model: changed(model / "generation_config.json", eos_token_id=[2, 5]),
        lambda model: (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8"),
        lambda model: changed(
            model / "tokenizer.json", normalizer={"type": "Replace", "pattern": {"String": "x"}, "content": "y"}
        ),
    ],
    ids=["decoding", "stops", "template", "normalizer"],
)
def test_what_reads_or_writes_differently_has_an_encoder_of_its_own(
    change: Callable[[Path], object], world: Path, copy: Callable[[str], Path]
) -> None:
    encoders, model = Encoders(), copy("other")
    change(model)
    of_world = encoders.of(inspect_model(world / "model"), "{prompt}")
    assert encoders.of(inspect_model(model), "{prompt}") is not of_world


def test_another_prompt_format_has_an_encoder_of_its_own(world: Path) -> None:
    encoders, facts = Encoders(), inspect_model(world / "model")
    assert encoders.of(facts, "{prompt}") is not encoders.of(facts, "Q: {prompt}")


def test_a_tokenizer_without_a_fast_form_is_like_no_other(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import forgetctl.model.encoders as module

    def slow(*of_model: object) -> Encoder:
        encoder = load_encoder(*of_model)  # type: ignore[arg-type]
        monkeypatch.setattr(type(encoder.tokenizer), "is_fast", False)
        return encoder

    monkeypatch.setattr(module, "load_encoder", slow)
    encoders = Encoders()
    first, second = (encoders.of(inspect_model(world / name), "{prompt}") for name in ("model", "reference"))
    assert first is not second


class Counted(Encoder):
    """Counts the rows that it renders."""

    def __init__(self, like: Encoder) -> None:
        super().__init__(like.tokenizer, like.prompt_format)
        self.rendered: list[str] = []

    def texts(self, row: Row) -> Rendered:
        self.rendered.append(row.name)
        return super().texts(row)


@pytest.fixture
def encoder(world: Path) -> Counted:
    return Counted(load_encoder(inspect_model(world / "model"), "{prompt}"))


def test_what_was_encoded_is_what_would_be(world: Path, encoder: Counted) -> None:
    rows = read_rows(world / "requests.jsonl")
    first = encoder.encode_all(rows)
    fresh = [Encoder(encoder.tokenizer, "{prompt}").encode(row) for row in rows]
    assert first == encoder.encode_all(rows) == fresh
    assert encoder.encode(replace(rows[3], line=900, subject_id="other")) is first[3]
    assert encoder.rendered == [row.name for row in rows]


@pytest.mark.parametrize(
    "other",
    [
        lambda row: replace(row, context=(("user", "Somebody else?"),)),
        lambda row: replace(row, response=f"{row.response} No."),
        lambda row: replace(row, spans=((0, 3),)),
        lambda row: replace(row, complete=False),
    ],
    ids=["context", "response", "spans", "complete"],
)
def test_rows_of_other_tokens_are_told_apart(other: Callable[[Row], Row], world: Path, encoder: Counted) -> None:
    row = read_rows(world / "requests.jsonl")[0]
    changed_row = other(row)
    assert encoder.encode(row) != encoder.encode(changed_row)
    assert encoder.encode(changed_row) == Encoder(encoder.tokenizer, "{prompt}").encode(changed_row)


def test_cutting_rows_leaves_what_is_kept(world: Path, encoder: Counted) -> None:
    rows, file = read_rows(world / "requests.jsonl"), world / "requests.jsonl"
    whole = encoder.encode_all(rows)
    longest = max(len(item.ids) for item in whole)
    _, cut = encode_rows(encoder, rows, file, None, longest - 1)
    assert cut > 0
    assert encode_rows(encoder, rows, file, None, None) == (whole, 0)


def test_a_row_that_is_refused_is_named_each_time(encoder: Counted) -> None:
    encoder.tokenizer.chat_template = None
    rows = [
        Row(1, (("user", "Who?"),), "Nobody."),
        Row(2, (("tools", "[]"), ("user", "Who?")), "Nobody."),
    ]
    for _ in range(2):
        with pytest.raises(TemplateRefusal) as caught:
            encoder.encode_all(rows)
        assert caught.value.row == "2"
        with pytest.raises(InputError, match=r"rows\.jsonl:2: calls of tools need a chat template"):
            encode_rows(encoder, rows, Path("rows.jsonl"), None, None)
