"""Marked parts of a response in tokens: against the bytes that each token stands for, and other kinds of tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from forgetctl.demo.training import BOS, EOS, PAD
from forgetctl.errors import InputError, ModelError
from forgetctl.model.encoding import Encoded, Encoder, encode_rows, marked
from forgetctl.model.load import load_tokenizer
from forgetctl.model.rests import unmarked, without_marked
from forgetctl.model.spans import BEHIND, are_covered, rendered_spans, touching
from forgetctl.recipe.recipe import Passages
from forgetctl.rows.row import Row
from tests.model.test_encoding import CHATML, SPACED, THOUGHT, TRIMMED, add_bos

FILE = Path("folder/request.jsonl")
RESPONSE = "Alwen lives in Norwick and is a clerk."
NAME, TOWN = (0, 5), (15, 22)
UNKNOWN = "<unk>"
BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}


@pytest.fixture(scope="module")
def saved(world: Path) -> Path:
    return world / "model"


@pytest.fixture
def encoder(saved: Path) -> Encoder:
    return Encoder(load_tokenizer(saved), "{prompt}")


@pytest.fixture(scope="module")
def shared_encoder(saved: Path) -> Encoder:
    return Encoder(load_tokenizer(saved), "{prompt}")


def question(*spans: tuple[int, int], response: str = RESPONSE, line: int = 4) -> Row:
    return Row(line, (("user", "Who?"),), response, spans=spans)


def passage(*spans: tuple[int, int], response: str = RESPONSE, line: int = 4) -> Row:
    return Row(line, (), response, spans=spans)


def shown(encoder: Encoder, row: Row) -> str:
    return marked(encoder, encoder.encode(row))[1]


# In code points


def test_spans_in_what_a_template_makes_of_a_response() -> None:
    response, answer = " ab\n cd e ", "\n\n  ab cd\te"
    assert rendered_spans(response, [(1, 3)], answer) == [(-1, 6)]
    assert rendered_spans(response, [(0, 4)], answer) == [(-1, 6)]  # white space at the edges is no part of it
    assert rendered_spans(response, [(3, 7)], answer) == [(7, 9)]
    assert rendered_spans(response, [(5, 6), (8, 10)], answer) == [(7, 8), (10, BEHIND)]


def test_tokens_that_touch() -> None:
    offsets = [(0, 2), (2, 2), (2, 5), (5, 6), (6, 9), (9, 10)]
    assert touching([(3, 6)], offsets) == (False, False, True, True, False, False)
    assert touching([(-1, 1), (8, BEHIND)], offsets) == (True, False, False, False, True, True)
    assert touching([(1, 4)], offsets) == (True, True, True, False, False, False)
    assert touching([], offsets) == (False,) * 6


def test_offsets_that_leave_out_letters_are_none() -> None:
    assert are_covered([(0, 4)], [(0, 2), (2, 4)], "ab c")
    assert are_covered([(0, 4)], [(0, 2), (3, 4)], "ab c")  # a blank may be dropped
    assert not are_covered([(0, BEHIND)], [(0, 2), (2, 2)], "ab c")


# In tokens


def spans_by_bytes(encoder: Encoder, row: Row) -> tuple[bool, ...]:
    """What is marked, from the bytes that the tokens of a byte-level vocabulary stand for."""
    encoded, lead = encoder.encode(row), len(encoder.texts(row).answer) - len(row.response)
    wanted: set[int] = set()
    for start, end in row.spans:
        text = row.response[start:end]
        begin = len((" " * lead + row.response[:start] + text[: len(text) - len(text.lstrip())]).encode())
        wanted |= set(range(begin, begin + len(text.strip().encode())))
    scored, place = [], 0
    for token in encoder.tokenizer.convert_ids_to_tokens(encoded.ids[encoded.start :]):  # type: ignore[attr-defined]
        size = len([BYTES[letter] for letter in token]) if token not in (BOS, EOS) else 0
        scored.append(bool(wanted & set(range(place, place + size))))
        place += size
    return tuple(scored)


@st.composite
def inner_spans(draw: st.DrawFn) -> Row:
    """Text in several scripts with a span within it: neither its first nor its last character."""
    text = draw(st.text(st.sampled_from("abAlwen  é日本👩\u200d🚀ß1"), min_size=4, max_size=30)).strip()
    text = f"A{text}z"
    start = draw(st.integers(1, len(text) - 2))
    end = draw(st.integers(start + 1, len(text) - 1))
    assume(text[start:end].strip())
    return question((start, end), response=text)


@given(case=inner_spans())
def test_marked_tokens_hold_the_marked_bytes(shared_encoder: Encoder, case: Row) -> None:
    assert shared_encoder.encode(case).scored == spans_by_bytes(shared_encoder, case)


@pytest.mark.parametrize("template", [CHATML, THOUGHT, TRIMMED, SPACED, None])
@pytest.mark.parametrize("response", [RESPONSE, f"  {RESPONSE}\n", RESPONSE.replace(" ", "\n  ")])
@pytest.mark.parametrize("make", [question, passage])
def test_what_is_marked_where_templates_trim_and_indent(
    template: str | None, response: str, make: Any, saved: Path
) -> None:
    tokenizer = load_tokenizer(saved)
    add_bos(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>"]})  # type: ignore[attr-defined]
    tokenizer.chat_template = template
    encoder = Encoder(tokenizer, "Q: {prompt}\nA:")
    start = response.index("Norwick")
    row = make((start, start + 7), response=response)
    assert shown(encoder, row).strip() == "Norwick"
    encoded, plain = encoder.encode(row), encoder.encode(make(response=response))
    assert (encoded.ids, encoded.start) == (plain.ids, plain.start)
    whole = (len(response) - len(response.lstrip()), len(response.rstrip()))
    assert encoder.encode(make(whole, response=response)).scored == (True,) * plain.tokens


def test_the_end_of_the_turn_belongs_to_a_span_that_reaches_the_end(encoder: Encoder) -> None:
    assert RESPONSE[32:37] == "clerk"
    assert not shown(encoder, question((32, 37))).endswith("</s>")
    assert shown(encoder, question((32, 38))).endswith("clerk.</s>")
    assert shown(encoder, question(NAME, (32, 38))) == " Alwen ...  clerk.</s>"
    ended = question((32, 38), response=f"{RESPONSE}\n ")
    assert shown(encoder, ended).endswith("</s>")


def test_a_token_across_the_edge_of_a_span_belongs_to_it(encoder: Encoder) -> None:
    whole = shown(encoder, question(TOWN))
    assert shown(encoder, question((16, 18))) in whole
    assert "or" in shown(encoder, question((16, 18)))


def test_merges_across_the_boundary(saved: Path) -> None:
    """Where prompt and answer are tokenised apart, offsets are of the answer alone."""
    tokenizer = load_tokenizer(saved)
    tokenizer.chat_template = None
    encoder = Encoder(tokenizer, "Alwen lives in Nor{prompt}")
    row = Row(1, (("user", "w"),), "ick and is a clerk.", spans=((13, 18),))
    encoded = encoder.encode(row)
    assert encoded.scored is not None
    assert marked(encoder, encoded)[1].strip() == "clerk"


def other_tokenizer(kind: str) -> Any:
    """Small tokenizers of the other kinds: sentencepiece's two, and one that changes letters."""
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BOS, EOS, UNKNOWN]
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer: Any = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token=UNKNOWN)
    elif kind == "byte fallback":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        pieces = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=[*special, *pieces])
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=special)
    tokenizer.train_from_iterator([RESPONSE, "Zoë lives in Norwick"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)


@pytest.mark.parametrize("kind", ["unigram", "byte fallback", "lower case"])
def test_other_kinds_of_tokenizers(kind: str) -> None:
    encoder = Encoder(other_tokenizer(kind), "Q: {prompt} A:")
    text = "Ask Zoë 日 of Norwick, she is a clerk."
    for part in ("Zoë", "日", "Norwick", "clerk"):
        start = text.index(part)
        encoded = encoder.encode(question((start, start + len(part)), response=text))
        said = marked(encoder, encoded)[1].replace(" ", "")
        assert 0 < encoded.tokens <= len(part.encode()) + 1
        assert any(form in said for form in (part, part.lower(), "zoe", UNKNOWN))
    whole = encoder.encode(question((0, len(text)), response=text))
    assert whole.scored == (True,) * encoder.encode(question(response=text)).tokens


def test_a_tokenizer_that_does_not_know_where_its_tokens_are(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(encoder.tokenizer), "is_fast", False)
    assert encoder.encode(question()).scored is None
    with pytest.raises(ModelError, match="does not say where in a text its tokens are"):
        encoder.encode(question(NAME))


def test_offsets_that_are_none_are_refused_by_line(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    own = encoder.tokenizer.__call__

    class Lost:
        is_fast = True

        def __call__(self, text: Any, **options: Any) -> Any:
            found = dict(own(text, **options))
            if "offset_mapping" in found:
                found["offset_mapping"] = [(begin, begin) for begin, _ in found["offset_mapping"]]
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(kept, name)

    kept, encoder.tokenizer = encoder.tokenizer, Lost()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="which tokens the spans of row 7 are"):
        encoder.encode(question(NAME, line=7))


# Rows that do not fit


def encoded_by(encoder: Encoder, rows: list[Row], **options: Any) -> list[Encoded]:
    given = {"context": None, "max_length": None, **options}
    return encode_rows(encoder, rows, FILE, **given)[0]


def test_a_part_that_is_cut_off_is_refused(encoder: Encoder) -> None:
    row = question(NAME, (15, 36))
    whole = encoder.encode(row)
    places = [whole.start + place for place in whole.places]
    (cut,) = encoded_by(encoder, [row], max_length=places[-1])
    assert cut.tokens == whole.tokens - 1
    first = next(place for place in places if place - 1 not in places and place > whole.start)
    with pytest.raises(InputError, match=f"row 4 has no token of a marked part within {first} tokens"):
        encoded_by(encoder, [row, question(NAME, line=5)], max_length=first)
    (kept,) = encoded_by(encoder, [question(NAME)], max_length=first)
    assert kept.tokens == encoder.encode(question(NAME)).tokens


def test_a_span_of_nothing_but_what_no_token_predicts_is_refused(encoder: Encoder) -> None:
    first = encoder.tokenizer.decode(encoder.encode(passage()).ids[:1])
    with pytest.raises(InputError, match="row 4 marks nothing but the first token of a passage"):
        encoded_by(encoder, [passage((0, len(first)))])


LONG = Passages(window=12, overlap=0.25)


@pytest.mark.parametrize("bos", [False, True])
def test_windows_score_what_is_marked_once(bos: bool, saved: Path) -> None:
    """Over the edge of windows too; windows in which nothing is marked are left out."""
    tokenizer = load_tokenizer(saved)
    if bos:
        add_bos(tokenizer)
    encoder = Encoder(tokenizer, "{prompt}")
    text = f"{RESPONSE} " * 8
    start = text.index("Norwick", 100)
    row = passage((start, start + 60), (len(text) - 8, len(text) - 2), response=text)
    whole, windows = encoder.encode(row), encoded_by(encoder, [row], context=12, passages=LONG)
    every = encoded_by(encoder, [passage(response=text)], context=12, passages=LONG)
    assert len(windows) < len(every)
    assert [window.continues for window in windows] == [False] + [True] * (len(windows) - 1)
    scored = [window.ids[window.start + place] for window in windows for place in window.places]
    assert scored == [whole.ids[whole.start + place] for place in whole.places]
    assert {(window.ids, window.start) for window in windows} <= {(window.ids, window.start) for window in every}
    rests = encoded_by(encoder, [row], context=12, passages=LONG, part=unmarked)
    assert sum(rest.tokens for rest in rests) + len(scored) == sum(window.tokens for window in every)
    assert {window.ids for window in windows if not all(window.scored or ())} <= {rest.ids for rest in rests}


# What is left


def test_what_is_left_is_what_no_row_of_the_text_marks() -> None:
    ids = tuple(range(10, 18))

    def own(*marks: int) -> Encoded:
        return Encoded(ids, 3, scored=tuple(place in marks for place in range(5)))

    alone, others = unmarked([own(0, 1)]), unmarked([own(0, 1), own(3), Encoded((9, 8), 1)])
    assert [row.places for row in alone] == [[2, 3, 4]]
    assert [row.places for row in others] == [[2, 4], [], []]  # once a text, nothing of a row that is to go whole
    assert [row.places for row in unmarked([own(1), Encoded(ids, 3)])] == [[], []]


def test_marked_tokens_are_taken_out_and_what_follows_is_not_scored() -> None:
    row = Encoded(tuple(range(10, 18)), 3, scored=(False, True, True, False, False))
    (left,) = without_marked([row])
    assert (left.ids, left.start, left.scored) == ((10, 11, 12, 13, 16, 17), 3, (True, False, True))
    plain = Encoded((1, 2, 3), 1)
    assert without_marked([plain]) == [plain]


def test_rows_with_nothing_left_are_left_out(encoder: Encoder) -> None:
    assert encoded_by(encoder, [question(NAME), question()], part=unmarked) == []
    (rest,) = encoded_by(encoder, [question(NAME), question(TOWN, line=5)], part=unmarked)
    assert marked(encoder, rest)[1].replace(" ", "").startswith("livesin...and")
