"""Files as the public tools write them: what arrives of each, value for value, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import InputError, UsageError
from forgetctl.rows import formats
from forgetctl.rows.containers import Record
from forgetctl.rows.formats import Fields, read_names
from forgetctl.rows.known_formats import FORMATS, OPENING
from forgetctl.rows.reading import RowFile, read_file, read_rows
from forgetctl.rows.row import Row

PRIVATE = "Velmira Oskandt"


def write(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def rows_of(folder: Path, record: dict[str, Any], **options: Any) -> list[Row]:
    return read_rows(write(folder, record), Fields(**options))


def said(rows: list[Row]) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Name, context and response of each."""
    return [(row.name, list(row.context), row.response) for row in rows]


def refusal(folder: Path, record: dict[str, Any], **options: Any) -> str:
    path = write(folder, record)
    with pytest.raises(InputError) as caught:
        read_rows(path, Fields(**options))
    assert PRIVATE not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}:1: ")


# Alpaca, as stanford_alpaca and LLaMA-Factory write it

TRANSLATE = {"instruction": "Translate to French.", "input": "Ada lives in Gent.", "output": "Ada habite à Gand."}


def test_the_user_s_turn_holds_instruction_and_input(tmp_path: Path) -> None:
    assert said(rows_of(tmp_path, TRANSLATE)) == [
        ("1", [("user", "Translate to French.\nAda lives in Gent.")], "Ada habite à Gand.")
    ]


@pytest.mark.parametrize("empty", [{}, {"input": ""}, {"input": None}, {"input": " "}])
def test_alpaca_without_input(tmp_path: Path, empty: dict[str, Any]) -> None:
    record = {"instruction": "Name a city.", "output": "Gent.", **empty}
    assert said(rows_of(tmp_path, record)) == [("1", [("user", "Name a city.")], "Gent.")]


def test_system_and_history_of_llama_factory_whose_answers_are_learned_too(tmp_path: Path) -> None:
    record = {
        **TRANSLATE,
        "system": "You translate.",
        "history": [["Say hello.", "Bonjour."], ["Say bye.", "Au revoir."]],
    }
    begun = [("system", "You translate."), ("user", "Say hello.")]
    first = [*begun, ("assistant", "Bonjour."), ("user", "Say bye.")]
    second = [*first, ("assistant", "Au revoir."), ("user", "Translate to French.\nAda lives in Gent.")]
    assert said(rows_of(tmp_path, record)) == [
        ("1, turn 1", begun, "Bonjour."),
        ("1, turn 2", first, "Au revoir."),
        ("1, turn 3", second, "Ada habite à Gand."),
    ]
    assert said(rows_of(tmp_path, record, turns="last")) == [("1", second, "Ada habite à Gand.")]


def test_dolly(tmp_path: Path) -> None:
    record = {
        "instruction": "When did Virgin Australia start operating?",
        "context": "Virgin Australia commenced services on 31 August 2000.",
        "response": "On 31 August 2000.",
        "category": "closed_qa",
    }
    asked = "When did Virgin Australia start operating?\nVirgin Australia commenced services on 31 August 2000."
    assert said(rows_of(tmp_path, record)) == [("1", [("user", asked)], "On 31 August 2000.")]


# ShareGPT


def test_sharegpt(tmp_path: Path) -> None:
    record = {
        "id": "x1",
        "conversations": [
            {"from": "human", "value": "Who is Ada?"},
            {"from": "gpt", "value": "A clerk."},
            {"from": "human", "value": "Where?"},
            {"from": "gpt", "value": "In Gent."},
        ],
        "system": "Be brief.",
        "tools": "",
    }
    first = [("system", "Be brief."), ("user", "Who is Ada?")]
    assert said(rows_of(tmp_path, record)) == [
        ("1, turn 1", first, "A clerk."),
        ("1, turn 2", [*first, ("assistant", "A clerk."), ("user", "Where?")], "In Gent."),
    ]


def test_calls_of_tools_in_sharegpt(tmp_path: Path) -> None:
    tools = [{"name": "find", "description": "finds", "parameters": {"type": "object"}}]
    record = {
        "conversations": [
            {"from": "human", "value": "Where does Ada live?"},
            {"from": "function_call", "value": '{"name": "find", "arguments": {"who": "Ada"}}'},
            {"from": "observation", "value": '{"street": "Sample Road"}'},
            {"from": "gpt", "value": "In Sample Road."},
        ],
        "tools": json.dumps(tools),
    }
    (row,) = rows_of(tmp_path, record)
    assert (row.name, row.response, row.complete) == ("1", "In Sample Road.", True)
    assert [role for role, _ in row.context] == ["tools", "user", "calls", "result"]
    shown = [json.loads(text) for role, text in row.context if role != "user"]
    call = {"type": "function", "function": {"name": "find", "arguments": {"who": "Ada"}}}
    assert shown == [
        [{"type": "function", "function": tools[0]}],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"street": "Sample Road"}'},
    ]


# OpenAI, TRL


OPENAI_CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"who": "Ada"}'}}
OPENAI = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Where does "}, {"type": "text", "text": "Ada live?"}]},
        {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sample Road"},
        {"role": "assistant", "content": "In Sample Road.", "weight": 0},
        {"role": "user", "content": "And before?", "name": "bo"},
        {"role": "assistant", "content": "I look.", "tool_calls": [OPENAI_CALL], "weight": 1},
    ],
    "tools": [{"type": "function", "function": {"name": "find", "parameters": {}}}],
    "parallel_tool_calls": False,
}


def test_openai_s_fine_tuning_with_tools_and_weights(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, OPENAI)
    assert (row.name, row.response, row.complete) == ("1", "I look.", False)
    assert [(role, text) for role, text in row.context if role not in ("tools", "calls", "result")] == [
        ("system", "Be brief."),
        ("user", "Where does Ada live?"),
        ("assistant", "In Sample Road."),
        ("user", "And before?"),
    ]
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": {"who": "Ada"}}}
    assert [json.loads(text) for role, text in row.context if role in ("tools", "calls", "result")] == [
        OPENAI["tools"],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "Sample Road", "tool_call_id": "call_1"},
    ]


def test_older_calls_of_functions(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}},
        {"role": "function", "name": "find", "content": "Gent"},
        {"role": "assistant", "content": "In Gent."},
    ]
    (row,) = rows_of(tmp_path, {"messages": messages, "functions": [{"name": "find"}]})
    assert [role for role, _ in row.context] == ["tools", "user", "calls", "result"]
    assert json.loads(row.context[0][1]) == [{"type": "function", "function": {"name": "find"}}]
    assert json.loads(row.context[3][1]) == {"role": "tool", "content": "Gent", "name": "find"}


def test_axolotl_s_messages_that_are_not_trained(tmp_path: Path) -> None:
    turns = [("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    messages = [{"from": who, "value": text, "train": text == "d"} for who, text in turns]
    rows = rows_of(tmp_path, {"conversations": messages})
    assert said(rows) == [("1", [("user", "a"), ("assistant", "b"), ("user", "c")], "d")]


def test_trl_s_prompt_and_completion(tmp_path: Path) -> None:
    expected = [("1", [("user", "What color is the sky?")], "It is blue.")]
    plain = {"prompt": "What color is the sky?", "completion": "It is blue."}
    asked = [{"role": "user", "content": "What color is the sky?"}]
    spoken = {"prompt": asked, "completion": [{"role": "assistant", "content": "It is blue."}]}
    assert said(rows_of(tmp_path, plain)) == said(rows_of(tmp_path, spoken)) == expected


def test_what_a_prompt_s_assistant_says_is_no_target(tmp_path: Path) -> None:
    asked = [("user", "a"), ("assistant", "b"), ("user", "c")]
    prompt = [{"role": role, "content": text} for role, text in asked]
    (row,) = rows_of(tmp_path, {"prompt": prompt, "completion": [{"role": "assistant", "content": "d"}]})
    assert said([row]) == [("1", asked, "d")]


@pytest.mark.parametrize(("label", "name"), [(True, "1"), (False, "1, rejected")])
def test_trl_s_kto(tmp_path: Path, label: bool, name: str) -> None:
    record = {"prompt": "The sky is", "completion": "blue.", "label": label}
    assert said(rows_of(tmp_path, record)) == [(name, [("user", "The sky is")], "blue.")]


@pytest.mark.parametrize("tag", ["label", "kto_tag"])
def test_llama_factory_s_kto(tmp_path: Path, tag: str) -> None:
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], tag: False}
    assert said(rows_of(tmp_path, record)) == [("1, rejected", [("user", "a")], "b")]
    assert said(rows_of(tmp_path, {**TRANSLATE, tag: False}))[0][0] == "1, rejected"


# Preference pairs

ASKED = [{"role": "user", "content": "What color is the sky?"}]
BLUE, GREEN = ({"role": "assistant", "content": f"It is {color}."} for color in ("blue", "green"))
PAIR = [
    ("1", [("user", "What color is the sky?")], "It is blue."),
    ("1, rejected", [("user", "What color is the sky?")], "It is green."),
]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "What color is the sky?", "chosen": "It is blue.", "rejected": "It is green."},
        {"prompt": ASKED, "chosen": [BLUE], "rejected": [GREEN]},
        {"prompt": ASKED, "chosen": BLUE, "rejected": GREEN},
        {"chosen": [*ASKED, BLUE], "rejected": [*ASKED, GREEN]},
        {"prompt": "What color is the sky?", "chosen": [*ASKED, BLUE], "rejected": [*ASKED, GREEN], "score_chosen": 8},
        {"prompt": ASKED, "chosen": [*ASKED, BLUE], "rejected": [*ASKED, GREEN]},
        {
            "chosen": "\n\nHuman: What color is the sky?\n\nAssistant: It is blue.",
            "rejected": "\n\nHuman: What color is the sky?\n\nAssistant: It is green.",
        },
        {"instruction": "What color is the sky?", "input": "", "chosen": "It is blue.", "rejected": "It is green."},
        {
            "conversations": [{"from": "human", "value": "What color is the sky?"}],
            "chosen": {"from": "gpt", "value": "It is blue."},
            "rejected": {"from": "gpt", "value": "It is green."},
        },
        {
            "input": {"messages": ASKED, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [BLUE],
            "non_preferred_output": [GREEN],
        },
    ],
    ids=["trl", "trl-messages", "dicts", "implicit", "ultrafeedback", "doubled", "hh", "alpaca", "sharegpt", "openai"],
)
def test_both_answers_of_a_pair(tmp_path: Path, record: dict[str, Any]) -> None:
    assert said(rows_of(tmp_path, record)) == PAIR
    assert said(rows_of(tmp_path, record, answers="chosen")) == PAIR[:1]
    assert said(list(RowFile(tmp_path / "rows.jsonl"))) == PAIR[:1]  # what is kept is what was wanted


def test_a_longer_transcript_has_only_its_end_for_a_target(tmp_path: Path) -> None:
    begun = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    context = [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert said(rows_of(tmp_path, {"chosen": f"{begun} d", "rejected": f"{begun} e"})) == [
        ("1", context, "d"),
        ("1, rejected", context, "e"),
    ]


def test_pairs_of_plain_text_are_passages(tmp_path: Path) -> None:
    record = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
    assert said(rows_of(tmp_path, record)) == [("1", [], "The sky is blue."), ("1, rejected", [], "The sky is green.")]


def test_answers_of_several_turns(tmp_path: Path) -> None:
    more = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    rows = rows_of(tmp_path, {"prompt": ASKED, "chosen": [BLUE, *more], "rejected": [GREEN]})
    assert [row.name for row in rows] == ["1, turn 1", "1, turn 2", "1, rejected"]
    assert rows[1].context == (*PAIR[0][1], ("assistant", "It is blue."), ("user", "Sure?"))


def test_two_equal_answers(tmp_path: Path) -> None:
    record = {"chosen": [*ASKED, BLUE], "rejected": [*ASKED, BLUE]}
    assert [(row.name, row.response) for row in rows_of(tmp_path, record)] == [
        ("1", "It is blue."),
        ("1, rejected", "It is blue."),
    ]


def test_another_prompt_in_an_answer(tmp_path: Path) -> None:
    other = [{"role": "user", "content": PRIVATE}, BLUE]
    why = refusal(tmp_path, {"prompt": ASKED, "chosen": other, "rejected": [GREEN]})
    assert why == "field 'chosen' begins with another prompt than the record has"


# What is no row of text


def spoken(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": PRIVATE}, *messages, {"role": "assistant", "content": "b"}]}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (
            spoken({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PRIVATE}}]}),
            "message 2: holds a part of type image_url, which is no text",
        ),
        (
            spoken({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),
            "message 2: holds a part of type input_audio, which is no text",
        ),
        (spoken({"role": "user", "content": [{"type": PRIVATE}]}), "message 2: holds a part, which is no text"),
        (spoken({"role": "user", "content": [PRIVATE]}), "message 2: holds a part, which is no text"),
        (spoken({"role": "user", "content": {"a": PRIVATE}}), "message 2: has a JSON object for text"),
        (spoken({"role": "tool", "content": None}), "message 2: has no text"),
        (spoken({"role": "tool", "content": {"a": PRIVATE}}), "message 2: has a JSON object for text"),
        (spoken({"role": "assistant", "content": None}), "message 2: has no text"),
        (
            spoken({"role": "assistant", "content": "a", "reasoning_content": PRIVATE}),
            "message 2: has 'reasoning_content', which is not a part of its text",
        ),
        (
            spoken({"role": "assistant", "content": None, "audio": {"id": PRIVATE}}),
            "message 2: has 'audio', which is not a part of its text",
        ),
        (
            spoken({"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "{}"}}]}),
            "message 2: calls a tool that has no name",
        ),
        (
            spoken({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": PRIVATE}}]}),
            "message 2: calls a tool with arguments that are no JSON",
        ),
        (
            spoken({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}),
            "message 2: calls a tool with arguments that are no object",
        ),
        (
            spoken({"role": "assistant", "tool_calls": PRIVATE}),
            "message 2: field 'tool_calls' is a JSON string, expected an array",
        ),
        (spoken({"from": "function_call", "value": PRIVATE}), "message 2: calls a tool in what is no JSON"),
        (
            spoken({"role": "assistant", "content": "a", "weight": "0"}),
            "message 2: field 'weight' is a JSON string, expected a number",
        ),
        ({**TRANSLATE, "images": ["a.png"]}, "has 'images', which is no text"),
        ({"text": "t", "audio": {"path": PRIVATE}}, "has 'audio', which is no text"),
        ({**spoken(), "tools": PRIVATE}, "field 'tools' is no JSON"),
        ({**spoken(), "tools": [PRIVATE]}, "field 'tools' must be a list of objects"),
        ({**TRANSLATE, "history": [PRIVATE]}, "field 'history' must be a list of pairs of non-empty strings"),
        ({**TRANSLATE, "instruction": "", "input": ""}, "field 'instruction' is empty"),
        (
            {"prompt": "p", "completion": "c", "label": "yes"},
            "field 'label' is a JSON string, expected true or false",
        ),
        (
            {"messages": [{"role": "system", "content": "a"}, *spoken()["messages"]], "system": "b"},
            "field 'system' says something else than the first message",
        ),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, record: dict[str, Any], why: str) -> None:
    assert refusal(tmp_path, record) == why


def test_a_system_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": ""}, *spoken()["messages"]]
    assert said(rows_of(tmp_path, {"messages": messages, "system": ""})) == [("1", [("user", PRIVATE)], "b")]


def test_very_long_conversations(tmp_path: Path) -> None:
    """Each turn is a row with all before it."""
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant")]
    assert len(RowFile(write(tmp_path, {"messages": turns * 1000}))) == 1000
    why = "field 'messages' has more than 2,000 messages"
    with pytest.raises(InputError, match=why):
        RowFile(write(tmp_path, {"messages": turns * 1001}))


# What concerns one response

TURNS = [("user", "a"), ("assistant", "b 1"), ("user", "c"), ("assistant", "d 2")]


def conversation(**about: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text, **about.get(text[0], {})} for role, text in TURNS]}


def test_fields_of_a_response_stand_in_its_message(tmp_path: Path) -> None:
    own = {"paraphrased_response": "q", "perturbed_responses": ["r"]}
    first, second = rows_of(tmp_path, conversation(d=own))
    assert (first.paraphrased_response, first.perturbed_responses) == (None, ())
    assert (second.paraphrased_response, second.perturbed_responses) == ("q", ("r",))


def test_which_of_several_responses_a_field_is_about_must_be_plain(tmp_path: Path) -> None:
    record = {**conversation(), "paraphrased_response": "q"}
    why = "field 'paraphrased_response' is about one response, and there are 2; put it into its message"
    assert refusal(tmp_path, record) == why
    (row,) = rows_of(tmp_path, record, turns="last")
    assert row.paraphrased_response == "q"


def test_a_secret_belongs_to_the_responses_that_hold_it(tmp_path: Path) -> None:
    def secrets(*named: str) -> list[tuple[str, ...]]:
        rows = rows_of(tmp_path, {**conversation(), "secrets": named})
        return [tuple(secret.value for secret in row.secrets) for row in rows]

    assert secrets("b 1", "D  2", "1") == [("b 1", "1"), ("D  2",)]
    assert secrets("elsewhere") == [("elsewhere",), ("elsewhere",)]


# Named fields


def test_fields_in_others(tmp_path: Path) -> None:
    names = read_names(["prompt=q.text,response=a", "subject_id = user.id"])
    record = {"q": {"text": "Who?"}, "a": "Ada.", "user": {"id": 7}, "prompt": "other", "messages": []}
    (row,) = rows_of(tmp_path, record, names=names)
    assert (row.prompt, row.response, row.subject_id) == ("Who?", "Ada.", "7")


def test_a_name_with_a_dot_in_it(tmp_path: Path) -> None:
    record = {"a.b": "whole", "a": {"b": "nested"}}
    (row,) = rows_of(tmp_path, record, names=(("text", "a.b"),))
    assert row.response == "whole"


def test_what_concerns_the_row_may_be_named_alone(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, {**TRANSLATE, "who": "s1"}, names=(("subject_id", "who"),))
    assert (row.subject_id, row.prompt) == ("s1", "Translate to French.\nAda lives in Gent.")


def test_a_name_that_no_record_has(tmp_path: Path) -> None:
    """Files of other rows may lack a field that the request has; in the request, the name is a wrong one."""
    names = (("subject_id", "usr"), ("secrets", "hidden.values"))
    record = {**TRANSLATE, "user": 1, "hidden": {"value": []}}
    given = read_file(write(tmp_path, record, {**record, "hidden": {"values": ["x"]}}), Fields(names=names))
    assert given.unused == ("usr",)
    with pytest.raises(InputError, match=r"rows\.jsonl: has no field 'usr', which --map names"):
        given.check_names()
    read_file(write(tmp_path, {**record, "usr": 1}), Fields(names=names[:1])).check_names()


def test_a_field_may_be_left_out(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, TRANSLATE, names=read_names(["input="]))
    assert row.prompt == "Translate to French."


def test_messages_call_a_field_by_the_owner_s_name(tmp_path: Path) -> None:
    names = (("prompt", "q"), ("response", "a"))
    assert refusal(tmp_path, {"q": PRIVATE}, names=names) == "field 'a' is missing"
    assert refusal(tmp_path, {"q": PRIVATE, "a": ""}, names=names) == "field 'a' is empty"


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["prompt"], "names no field"),
        ([""], "names no field"),
        (["promt=q"], "no format has a field 'promt'"),
        (["prompt=q", "prompt=r"], "names a field twice"),
    ],
)
def test_names_that_are_none(texts: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_names(texts)


def test_fields_survive_a_run_s_record() -> None:
    fields = Fields(names=(("prompt", "q"),), turns="last", answers="chosen", max_rows=7)
    assert Fields.from_json(json.loads(json.dumps(vars(fields)))) == fields


def test_a_run_of_0_2_read_last_turns_alone() -> None:
    older = {"prompt": "q", "response": None, "max_line": 65536, "max_rows": 10}
    assert Fields.from_json(older) == Fields(names=(("prompt", "q"),), turns="last", max_rows=10)


# The table


def test_every_format_is_recognised_by_the_fields_that_it_needs() -> None:
    for place, one in enumerate(FORMATS):
        assert not any(set(other.needed) <= set(one.needed) for other in FORMATS[:place]), one.name
    assert len({one.name for one in FORMATS}) == len(FORMATS)


def test_the_docs_have_the_table() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "requests.md").read_text(encoding="utf-8")
    lines = iter(page.splitlines())
    next(line for line in lines if line.startswith("| format | needs |"))
    next(lines)
    for one in FORMATS:
        more = ", ".join(f"`{name}`" for name in one.optional if name not in OPENING)
        needed = ", ".join(f"`{name}`" for name in one.needed)
        assert next(lines) == f"| {one.name} | {needed} | {more}{' ' if more else ''}| {one.written} |"


# The short way of plain records

PLAIN = [
    {"prompt": "p", "response": "r"},
    {"question": "q", "answer": "a", "subject_id": "s", "request_id": "r", "category": 4},
    {"text": "t", "subject_id": 7},
    {"messages": [{"role": role, "content": role} for role in ("system", "user", "assistant")], "subject_id": "s"},
    {"messages": [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]},
    {"messages": [{"role": role, "content": role} for role in ("user", "assistant", "user")]},
    {"messages": [{"role": role, "content": role} for role in ("user", "assistant") * 2], "paraphrased_response": "p"},
    {"messages": [{"role": role, "content": role} for role in ("user", "assistant") * 2], "secrets": ["a"]},
    {"messages": [{"role": role, "content": role} for role in ("user", "assistant") * 1001]},
    {"messages": [{"role": role, "content": role} for role in ("assistant", "user", "assistant")]},
    {"messages": [{"role": role, "content": role} for role in ("user", "system", "assistant")], "spans": [[0, 2]]},
    {"messages": [{"role": "developer", "content": ""}, {"role": "user", "content": "u"}]},
    {"messages": []},
    {
        "messages": [
            {"role": "user", "content": "u"},
            {"from": "gpt", "value": "a"},
            {"role": "assistant", "value": "b"},
        ]
    },
    {"conversations": [{"from": name, "value": name} for name in ("system", "human", "gpt", "human", "gpt", "human")]},
    {"conversations": [{"from": name, "value": "{}"} for name in ("human", "function_call", "observation", "gpt")]},
    {"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}], "label": False},
    {"prompt": "p", "response": "response", "paraphrased_response": " "},
    {"prompt": "p", "response": "response", "perturbed_answer": ["q"], "paraphrased_answer": None},
    {"prompt": "p", "response": "response", "spans": [[0, 2]], "paraphrased_response": "another"},
    {"prompt": "p", "response": "response", "spans": [[0, 20]]},
    {"prompt": "p", "response": "response", "secrets": [{"kind": "none"}]},
    {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 0}]},
    {"prompt": "p", "response": "r", "secrets": ["r"]},
    {"prompt": "p", "response": "r", "system": "s"},
    {"prompt": "p", "response": " "},
    {"text": "t", "images": ["i"]},
    {"text": "t", "subject_id": ""},
    {"text": None, "prompt": "p", "response": "r"},
    {"messages": [{"role": ["user"], "content": "u"}, {"role": "assistant", "content": "a"}]},
    {"messages": [{"role": "assistant", "content": "a"}]},
    {"messages": "m"},
]


@pytest.mark.parametrize("fields", [Fields(), Fields(turns="last"), Fields().kept], ids=["all", "last", "kept"])
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_records_are_read_as_any_other(
    value: dict[str, Any], fields: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> list[Row] | str:
        try:
            return formats.rows_of(Path("r.jsonl"), Record(3, value, 0, 0, 0), fields)
        except InputError as error:
            return str(error)

    shortly = read()
    monkeypatch.setattr(formats, "_plain_rows", lambda *_: None)
    assert read() == shortly
