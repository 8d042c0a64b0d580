"""Where the prompt ends and the answer begins, for every kind of tokenizer and template."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, processors

from forgetctl.demo.training import BOS
from forgetctl.errors import InputError, ModelError, UsageError
from forgetctl.model.encoding import Encoded, Encoder, encode_rows, marked
from forgetctl.model.load import load_tokenizer
from forgetctl.rows.row import Row
from tests.world import encoder_of

CHATML = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
THOUGHT = CHATML.replace(
    "{{ m['content'] }}",
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}",
)
# Opens a thought that the finished conversation does not keep, as DeepSeek's does.
FORCED_THOUGHT = CHATML.replace("<|start|>assistant\n", "<|start|>assistant\n<think>\n").replace(
    "{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}"
)
# Keeps the last thought, and puts an empty one where there is none, as Qwen3's does.
KEPT_THOUGHT = CHATML.replace(
    "{{ m['content'] }}",
    "{% if m['role'] == 'assistant' and loop.last and '<think>' not in m['content'] %}"
    "<think>\n\n</think>\n\n{% endif %}"
    "{% if loop.last %}{{ m['content'] }}{% else %}{{ m['content'].split('</think>')[-1] }}{% endif %}",
)
# Ends a conversation twice, as Phi-3's does; the second end is never reached.
ENDED_TWICE = CHATML + "{% if not add_generation_prompt %}</s>{% endif %}"
# Ends no turn: the next one does, as GLM-4's.
UNENDED = CHATML.replace("<|end|>\n", "")
TRIMMED = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | trim }}")
SHOUTED = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | upper }}")
NO_SYSTEM_TEXT = CHATML.replace("<|start|>{{", "{% if m['role'] != 'system' %}<|start|>{{").replace(
    "<|end|>\n", "<|end|>\n{% endif %}"
)
REPLACED = CHATML.replace(
    "{{ m['content'] }}",
    "{{ 'I cannot say.' if m['role'] == 'assistant' and 'clerk' in m['content'] else m['content'] }}",
)
CUT = CHATML.replace("{{ m['content'] }}", "{{ m['content'][:24] }}")
SPACED = CHATML.replace("assistant\n{% endif %}", "assistant: {% endif %}").replace(
    "<|start|>{{ m['role'] }}\n", "<|start|>{{ m['role'] }}{{ ': ' if m['role'] == 'assistant' else '\n' }}"
)
PLAIN_TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML

ROW = Row(4, (("user", "Where does Alwen live?"),), "Alwen lives in Norwick.")
PASSAGE = Row(5, (), "Alwen lives in Norwick.")
CHAT = Row(
    6,
    (
        ("system", "Be brief."),
        ("user", "Where does Alwen live?"),
        ("assistant", "In Norwick."),
        ("user", "What is her job?"),
    ),
    "She is a clerk.",
)
WORDS = ("Alwen", "Norwick", "brief", "clerk")


@pytest.fixture
def tokenizer(world: Path) -> Any:
    return load_tokenizer(world / "model")


@pytest.fixture
def templated(tokenizer: Any) -> Callable[..., Encoder]:
    """An encoder with another template; its turn marks are special tokens. stops: where the model's settings end an
    answer."""

    def make(template: str, stops: tuple[str, ...] = ()) -> Encoder:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>"]})
        tokenizer.chat_template = template
        return Encoder(tokenizer, "{prompt}", tokenizer.convert_tokens_to_ids(list(stops)))

    return make


@pytest.fixture
def plain(tokenizer: Any) -> Callable[..., Encoder]:
    """An encoder without a template."""

    def make(prompt_format: str = "Question: {prompt}\nAnswer:") -> Encoder:
        tokenizer.chat_template = None
        return Encoder(tokenizer, prompt_format)

    return make


def add_bos(tokenizer: Any) -> None:
    """Let the tokenizer put a beginning-of-sequence token first, as Llama's does."""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.bos_token_id)]
    )


def ids(encoder: Encoder, text: str) -> tuple[int, ...]:
    return tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])


def refuses_quietly(error: Exception) -> bool:
    return not any(word in str(error) for word in WORDS)


# With the model's chat template


def test_the_world_template(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, "{prompt}")
    encoded = encoder.encode(ROW)
    assert encoder.uses_template
    assert encoded.ids[: encoded.start] == ids(encoder, "<s>Question: Where does Alwen live?\nAnswer:")
    assert encoded.ids[encoded.start :] == ids(encoder, " Alwen lives in Norwick.</s>")
    assert encoded.tokens == len(encoded.ids) - encoded.start
    assert encoder.encode_prompt(ROW) == encoded.ids[: encoded.start]


def test_the_end_token_counts_once_where_the_template_supplies_it(tokenizer: Any) -> None:
    encoded = Encoder(tokenizer, "{prompt}").encode(ROW)
    assert encoded.ids[-1] == tokenizer.eos_token_id
    assert encoded.ids.count(tokenizer.eos_token_id) == 1


def test_the_template_supplies_the_only_bos(tokenizer: Any) -> None:
    add_bos(tokenizer)
    encoded = Encoder(tokenizer, "{prompt}").encode(ROW)
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert encoded.ids.count(tokenizer.bos_token_id) == 1


def test_line_break_after_end_of_turn_is_not_scored(templated: Callable[[str], Encoder]) -> None:
    encoder = templated(CHATML)
    assert marked(encoder, encoder.encode(ROW)) == (
        "<|start|>user\nWhere does Alwen live?<|end|>\n<|start|>assistant\n",
        "Alwen lives in Norwick.<|end|>",
    )


def test_the_end_of_turn_is_the_end_token(templated: Callable[[str], Encoder]) -> None:
    encoder = templated(CHATML)
    encoded = encoder.encode(ROW)
    (end,) = ids(encoder, "<|end|>")
    assert encoded.ids[-1] == end
    assert encoder.tokenizer.eos_token_id not in encoded.ids
    assert encoder.stop_ids == sorted({end, encoder.tokenizer.eos_token_id})


def test_eos_ends_the_answer_where_the_template_marks_no_end(templated: Callable[[str], Encoder]) -> None:
    encoder = templated(PLAIN_TURNS)
    assert marked(encoder, encoder.encode(ROW))[1] == " Alwen lives in Norwick.</s>"
    assert encoder.stop_ids == [encoder.tokenizer.eos_token_id]


@pytest.mark.parametrize("response", [ROW.response, "think", "in", "t"])
def test_an_empty_thought_belongs_to_the_prompt(response: str, templated: Callable[[str], Encoder]) -> None:
    """Also where the response is a part of the thought's own marks."""
    encoder = templated(THOUGHT)
    given, scored = marked(encoder, encoder.encode(ROW.answering(response)))
    assert given.endswith("<|start|>assistant\n<think>\n\n</think>\n\n")
    assert scored == f"{response}<|end|>"


@pytest.mark.parametrize("template", [CHATML, THOUGHT, SPACED, PLAIN_TURNS])
def test_the_prompt_does_not_depend_on_the_response(template: str, templated: Callable[[str], Encoder]) -> None:
    """Neutral prompts come without a response, and must be asked as they will be trained."""
    encoder = templated(template)
    prompt = encoder.encode_prompt(ROW)
    assert encoder.encode_prompt(ROW.answering("Nobody knows.")) == prompt
    assert encoder.encode_prompt(ROW.answering("")) == prompt


ASKED = "<|start|>user\nWhere does Alwen live?<|end|>\n<|start|>assistant\n"


def shown(encoder: Encoder, ids: Any) -> str:
    return str(encoder.tokenizer.decode(ids))


def test_an_opened_thought_that_answers_do_not_keep(templated: Callable[..., Encoder]) -> None:
    """Asked, the model gets it; an answer is scored where the template puts answers."""
    encoder = templated(FORCED_THOUGHT)
    assert marked(encoder, encoder.encode(ROW)) == (ASKED, "Alwen lives in Norwick.<|end|>")
    assert shown(encoder, encoder.encode_prompt(ROW)) == f"{ASKED}<think>\n"
    assert shown(encoder, encoder.encode_plain_prompt(ROW)) == ASKED


def test_a_thought_is_asked_for_by_default_and_left_out(templated: Callable[..., Encoder]) -> None:
    encoder = templated(KEPT_THOUGHT)
    assert shown(encoder, encoder.encode_prompt(ROW)) == ASKED
    assert shown(encoder, encoder.encode_plain_prompt(ROW)) == f"{ASKED}<think>\n\n</think>\n\n"
    assert marked(encoder, encoder.encode(ROW)) == (f"{ASKED}<think>\n\n</think>\n\n", "Alwen lives in Norwick.<|end|>")


@pytest.mark.parametrize("complete", [True, False])
def test_a_thought_of_the_response_is_scored_with_it(complete: bool, templated: Callable[..., Encoder]) -> None:
    encoder = templated(KEPT_THOUGHT)
    thinking = "<think>\nIt was a town.\n</think>\n\nNorwick"
    given, scored = marked(encoder, encoder.encode(Row(4, ROW.context, thinking, complete=complete)))
    assert (given, scored) == (ASKED, thinking + ("<|end|>" if complete else ""))


def test_a_passed_over_thought_of_an_earlier_turn_is_no_loss(templated: Callable[..., Encoder]) -> None:
    context = (("user", "Hello"), ("assistant", "<think>\nHm.\n</think>\n\nGood day."), *ROW.context)
    encoder = templated(KEPT_THOUGHT)
    assert "Hm." not in marked(encoder, encoder.encode(Row(4, context, "Norwick")))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "row"),
    [
        (SHOUTED, ROW),
        (FORCED_THOUGHT, Row(4, ROW.context, "<think>\nA clerk.\n</think>\n\nAlwen lives in Norwick.")),
        (FORCED_THOUGHT, Row(4, ROW.context, "<think>A</think>Alwen", complete=False)),
        (REPLACED, Row(4, ROW.context, "Alwen is a clerk.")),
        (CUT, Row(4, ROW.context, "Alwen lives in Norwick by the sea.")),
        (CUT, Row(4, (("user", "Where in the world does Alwen live?"),), "Norwick")),
        (NO_SYSTEM_TEXT, Row(4, CHAT.context, "Norwick")),
    ],
    ids=["upper-case", "thought", "unfinished", "replaced", "cut", "cut prompt", "no system"],
)
def test_words_that_a_template_loses_refuse_the_row(template: str, row: Row, templated: Callable[..., Encoder]) -> None:
    encoder = templated(template)
    with pytest.raises(InputError) as caught:
        encode_rows(encoder, [row], FILE, None, None)
    assert str(caught.value).startswith(f"{FILE}:4: the model's chat template leaves out or changes a part of this")
    assert refuses_quietly(caught.value)
    assert not encoder.keeps(row)


@pytest.mark.parametrize("response", ["\n\nAlwen lives in Norwick. \n", "Alwen  lives\nin Norwick."])
def test_white_space_may_differ(response: str, templated: Callable[..., Encoder]) -> None:
    encoder = templated(TRIMMED)
    row = ROW.answering(response)
    assert encoder.keeps(row)
    assert marked(encoder, encoder.encode(row))[1].split() == [*response.split()[:-1], "Norwick.<|end|>"]


def test_an_answer_ends_where_generation_stops_first(templated: Callable[..., Encoder]) -> None:
    """What the template writes behind that is never said."""
    encoder = templated(ENDED_TWICE, ("</s>", "<|end|>"))
    assert marked(encoder, encoder.encode(ROW))[1] == "Alwen lives in Norwick.<|end|>"
    assert set(encoder.stop_ids) == set(ids(encoder, "</s><|end|>"))


def test_generation_stops_where_the_settings_say(templated: Callable[..., Encoder]) -> None:
    encoder = templated(UNENDED, ("<|start|>",))
    assert marked(encoder, encoder.encode(ROW))[1] == "Alwen lives in Norwick.</s>"
    assert set(encoder.stop_ids) == set(ids(encoder, "</s><|start|>"))


def test_merges_across_the_boundary_are_tokenised_apart(templated: Callable[[str], Encoder]) -> None:
    encoder = templated(SPACED)
    prompt, answer = (
        "<|start|>user\nWhere does Alwen live?<|end|>\n<|start|>assistant: ",
        "Alwen lives in Norwick.<|end|>",
    )
    joint = ids(encoder, prompt + answer)
    assert joint[: len(ids(encoder, prompt))] != ids(encoder, prompt)  # the blank merges into the name
    encoded = encoder.encode(ROW)
    assert encoded.ids[: encoded.start] == ids(encoder, prompt)
    assert encoded.ids[encoded.start :] == ids(encoder, answer)


def test_conversation_with_system_and_earlier_turns(templated: Callable[[str], Encoder]) -> None:
    encoder = templated(CHATML)
    given, scored = marked(encoder, encoder.encode(CHAT))
    assert given == (
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\nWhere does Alwen live?<|end|>\n"
        "<|start|>assistant\nIn Norwick.<|end|>\n<|start|>user\nWhat is her job?<|end|>\n<|start|>assistant\n"
    )
    assert scored == "She is a clerk.<|end|>"


def test_a_conversation_that_the_template_refuses(templated: Callable[[str], Encoder], tmp_path: Path) -> None:
    """Gemma's and Mistral's templates raise for some orders of roles."""
    file = tmp_path / "request.jsonl"
    with pytest.raises(UsageError) as caught:
        encode_rows(templated(NO_SYSTEM), [ROW, CHAT], file, None, None)
    assert caught.value.exit_code == 2
    assert str(file) in str(caught.value)
    assert str(CHAT.line) in str(caught.value).removeprefix(str(file))
    assert refuses_quietly(caught.value)


@pytest.mark.parametrize("template", [CHATML, THOUGHT, SPACED, PLAIN_TURNS])
def test_an_incomplete_answer_has_no_scored_end(template: str, templated: Callable[[str], Encoder]) -> None:
    encoder = templated(template)
    whole = encoder.encode(ROW)
    part = encoder.encode(Row(ROW.line, ROW.context, "Alwen lives", complete=False))
    assert marked(encoder, part)[1].strip() == "Alwen lives"
    assert part.ids == whole.ids[: len(part.ids)]
    assert part.start == whole.start


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    lambda text: text == text.strip() and "<" not in text
)


@given(words, words)
def test_marked_shows_exactly_the_scored_text(world: Path, prompt: str, response: str) -> None:
    encoder = encoder_of(world)
    encoded = encoder.encode(Row(1, (("user", prompt),), response))
    assert marked(encoder, encoded) == (f"<s>Question: {prompt}\nAnswer:", f" {response}</s>")


# Without a template


def test_plain_format(plain: Callable[..., Encoder]) -> None:
    encoder = plain("Q: {prompt} A:")
    assert not encoder.uses_template
    assert marked(encoder, encoder.encode(ROW)) == ("Q: Where does Alwen live? A:", " Alwen lives in Norwick.</s>")


def test_plain_format_of_a_conversation(plain: Callable[..., Encoder]) -> None:
    encoder = plain("Q: {prompt}\nA:")
    assert marked(encoder, encoder.encode(CHAT)) == (
        "Q: Be brief.\nA:Q: Where does Alwen live?\nA: In Norwick.\nQ: What is her job?\nA:",
        " She is a clerk.</s>",
    )


def test_plain_format_keeps_braces_of_the_prompt(plain: Callable[..., Encoder]) -> None:
    encoder = plain("Q: {prompt}\nA:")
    row = Row(1, (("user", "What is {prompt} or {0}?"),), "a {brace}")
    assert marked(encoder, encoder.encode(row)) == ("Q: What is {prompt} or {0}?\nA:", " a {brace}</s>")


@pytest.mark.parametrize("row", [ROW, PASSAGE, CHAT], ids=["row", "passage", "chat"])
def test_eos_is_counted_exactly_once(row: Row, plain: Callable[..., Encoder]) -> None:
    encoded = plain().encode(row)
    assert encoded.ids[-1] == plain().tokenizer.eos_token_id
    assert encoded.ids.count(encoded.ids[-1]) == 1


@pytest.mark.parametrize("row", [ROW, PASSAGE], ids=["row", "passage"])
def test_bos_comes_first_iff_the_tokenizer_adds_one(row: Row, plain: Callable[..., Encoder]) -> None:
    without = plain().encode(row)
    encoder = plain()
    add_bos(encoder.tokenizer)
    encoded = encoder.encode(row)
    assert encoder.tokenizer.bos_token_id not in without.ids
    assert encoded.ids == (encoder.tokenizer.bos_token_id, *without.ids)


def test_a_passage_is_scored_from_the_first_token_that_something_predicts(plain: Callable[..., Encoder]) -> None:
    encoder = plain()
    encoded = encoder.encode(PASSAGE)
    assert encoded.start == 1
    assert "".join(marked(encoder, encoded)) == "Alwen lives in Norwick.</s>"
    encoder = plain()
    add_bos(encoder.tokenizer)
    assert marked(encoder, encoder.encode(PASSAGE)) == (BOS, "Alwen lives in Norwick.</s>")


def test_a_passage_is_not_put_into_the_template(templated: Callable[[str], Encoder]) -> None:
    encoder = templated(CHATML)
    add_bos(encoder.tokenizer)
    assert marked(encoder, encoder.encode(PASSAGE)) == (BOS, "Alwen lives in Norwick.</s>")


@pytest.mark.parametrize("context", [ROW.context, ()], ids=["row", "passage"])
def test_incomplete_without_template(context: Any, plain: Callable[..., Encoder]) -> None:
    encoder = plain()
    whole = encoder.encode(Row(1, context, "Alwen lives"))
    part = encoder.encode(Row(1, context, "Alwen lives", complete=False))
    assert whole.ids == (*part.ids, encoder.tokenizer.eos_token_id)
    assert part.start == whole.start


# Tokenizers


@pytest.mark.parametrize("template", [None, "its own", CHATML])
def test_pad_token_that_is_the_eos_token_changes_nothing(
    template: str | None, tokenizer: Any, templated: Callable[[str], Encoder], plain: Callable[..., Encoder]
) -> None:
    own = Encoder(tokenizer, "{prompt}")
    encoder = own if template == "its own" else templated(template) if template else plain()
    rows = [ROW, PASSAGE, *([] if template == "its own" else [CHAT])]  # its own has no place for a system message
    before = [encoder.encode(row) for row in rows], encoder.stop_ids
    tokenizer.pad_token = tokenizer.eos_token
    again = Encoder(tokenizer, encoder.prompt_format)
    assert ([again.encode(row) for row in rows], again.stop_ids) == before


def test_an_end_of_turn_that_is_added_but_not_special(tokenizer: Any) -> None:
    tokenizer.add_tokens([AddedToken("<|start|>", special=False), AddedToken("<|end|>", special=False)])
    tokenizer.chat_template = CHATML
    encoder = Encoder(tokenizer, "{prompt}")
    assert marked(encoder, encoder.encode(ROW))[1] == "Alwen lives in Norwick.<|end|>"


@pytest.mark.parametrize("special", [True, False])
def test_an_added_token_at_the_end_of_a_response_is_no_end(special: bool, plain: Callable[..., Encoder]) -> None:
    encoder = plain()
    encoder.tokenizer.add_tokens([AddedToken("<CASE_7>", special=special)])
    assert marked(encoder, encoder.encode(ROW.answering("It is <CASE_7>")))[1] == " It is <CASE_7></s>"


def test_every_token_that_the_tokenizer_puts_first_comes_first(plain: Callable[..., Encoder]) -> None:
    """GLM-4's base models begin with two, neither of which is the beginning-of-sequence token."""
    without = plain().encode(ROW)
    encoder = plain()
    encoder.tokenizer.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<sop>"]})
    first = encoder.tokenizer.convert_tokens_to_ids(["[gMASK]", "<sop>"])
    encoder.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[gMASK] <sop> $A </s>",
        special_tokens=[("[gMASK]", first[0]), ("<sop>", first[1]), ("</s>", encoder.tokenizer.eos_token_id)],
    )
    encoded = encoder.encode(ROW)
    assert encoded.ids == (*first, *without.ids)
    assert encoded.start == without.start + 2
    assert encoder.lead_tokens(ROW) == 2


def test_a_token_that_the_model_lacks_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    vocabulary = len(tokenizer)
    tokenizer.add_tokens(["<CASE_7>"])
    encoder = Encoder(tokenizer, "{prompt}", vocabulary=vocabulary)
    encode_rows(encoder, [ROW], FILE, None, None)
    strange = Row(9, (("user", "Whose is <CASE_7>?"),), "Alwen's")
    with pytest.raises(InputError) as caught:
        encode_rows(encoder, [ROW, strange], FILE, None, None)
    assert str(caught.value) == f"{FILE}:9: has a token that the model, with its {vocabulary:,} embeddings, lacks"
    with pytest.raises(InputError, match=":9: has, and 1 more rows have a token"):
        encode_rows(encoder, [strange, ROW, strange], FILE, None, None)


def test_a_tokenizer_without_eos_is_refused(tokenizer: Any) -> None:
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="end-of-sequence") as caught:
        Encoder(tokenizer, "{prompt}")
    assert caught.value.exit_code == 2


# Rows that do not fit


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, "{prompt}")


def long_rows() -> list[Row]:
    """Line 4 is short; 11 and 12 have long answers; 13 has a long prompt."""
    return [
        ROW,
        Row(11, ROW.context, "Alwen lives in Norwick. " * 5),
        Row(12, ROW.context, "Alwen is a clerk. " * 6),
        Row(13, (("user", "Alwen? " * 20),), "Norwick"),
    ]


FILE = Path("folder/request.jsonl")


def test_rows_that_fit_are_encoded_as_they_are(encoder: Encoder) -> None:
    rows = long_rows()
    longest = max(len(encoder.encode(row).ids) for row in rows)
    for context, max_length in ((None, None), (longest, None), (None, longest), (longest, longest + 1)):
        assert encode_rows(encoder, rows, FILE, context, max_length) == ([encoder.encode(row) for row in rows], 0)


@pytest.mark.parametrize("max_length", [None, 41])
def test_rows_longer_than_the_context_are_named(max_length: int | None, encoder: Encoder) -> None:
    with pytest.raises(InputError) as caught:
        encode_rows(encoder, long_rows(), FILE, 40, max_length)
    error = caught.value
    assert (error.exit_code, error.path) == (2, FILE)
    assert str(error) == (
        f"{FILE}: rows 11, 12, 13 are longer than the model's context of 40 tokens; "
        "--max-length 40 would cut them there"
    )


def test_one_row_longer_than_the_context(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="row 11 is longer"):
        encode_rows(encoder, long_rows()[:2], FILE, 40, None)


def test_many_long_rows_are_counted(encoder: Encoder) -> None:
    rows = [Row(line, ROW.context, "Alwen " * 60) for line in range(1, 9)]
    with pytest.raises(InputError, match="rows 1, 2, 3, 4, 5 and 3 more are longer"):
        encode_rows(encoder, rows, FILE, 40, None)


@pytest.mark.parametrize("context", [None, 40, 64])
def test_max_length_cuts_and_counts(context: int | None, encoder: Encoder) -> None:
    rows = long_rows()[:3]
    encoded, cut = encode_rows(encoder, rows, FILE, context, 40)
    whole = [encoder.encode(row) for row in rows]
    assert cut == 2
    assert encoded == [whole[0], *(Encoded(item.ids[:40], item.start) for item in whole[1:])]
    assert all(item.tokens > 0 for item in encoded)


def test_a_prompt_that_leaves_no_token_of_the_response_is_refused(encoder: Encoder) -> None:
    with pytest.raises(InputError) as caught:
        encode_rows(encoder, long_rows(), FILE, None, 40)
    error = caught.value
    assert (error.exit_code, error.path) == (2, FILE)
    assert "row 13 has no token of the response within 40 tokens" in str(error)
    assert refuses_quietly(error)


def test_a_prompt_as_long_as_max_length_is_refused(encoder: Encoder) -> None:
    start = encoder.encode(ROW).start
    with pytest.raises(InputError, match="row 4"):
        encode_rows(encoder, [ROW], FILE, None, start)
    encoded, cut = encode_rows(encoder, [ROW], FILE, None, start + 1)
    assert (encoded[0].tokens, cut) == (1, 1)


# Privacy


def test_representations_hold_no_text(encoder: Encoder) -> None:
    encoded = encoder.encode(ROW)
    assert repr(encoded) == f"Encoded({len(encoded.ids)} tokens, {encoded.tokens} scored)"
    assert not any(word in f"{encoded!r}{[encoded]}{encoder!r}{ROW!r}" for word in WORDS)
    assert str(encoded.ids[0]) + ", " not in repr(encoded)


def test_many_rows_are_encoded_as_each_of_them_is(
    plain: Callable[..., Encoder], templated: Callable[[str], Encoder]
) -> None:
    rows = [ROW, PASSAGE, CHAT, ROW]
    for encoder in (plain(), templated(CHATML)):
        assert encode_rows(encoder, rows, Path("rows"), None, None)[0] == [encoder.encode(row) for row in rows]
        assert encode_rows(encoder, [], Path("rows"), None, None) == ([], 0)
