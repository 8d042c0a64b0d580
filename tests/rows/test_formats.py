"""Reading rows: every shape that is accepted, and every refusal, which names file and line but never the text."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.cli.main import cli
from forgetctl.errors import InputError
from forgetctl.files.writing import file_digest
from forgetctl.rows.formats import MAX_RECORD_BYTES, Fields
from forgetctl.rows.reading import RETAIN_RECORD_BYTES, RowFile, RowReader, read_rows
from forgetctl.rows.row import Row
from forgetctl.rows.secret import Secret

PRIVATE = "Velmira Oskandt lives at 9 Quillfen Lane"
GOOD = b'{"prompt": "p", "response": "r"}\n'
NAMED = Fields(names=(("prompt", "frage"), ("response", "antwort")))


def write(folder: Path, *lines: dict[str, Any] | bytes) -> Path:
    """A JSONL file; bytes are written as they are, with a line break."""
    path = folder / "request.jsonl"
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    return path


def read_one(folder: Path, line: dict[str, Any], fields: Fields | None = None) -> Row:
    (row,) = read_rows(write(folder, line), fields)
    return row


def refusal(path: Path, line: int | None, fields: Fields | None = None) -> str:
    """Why the file is refused; checks the type, the exit code, the place, and that no row text is quoted."""
    with pytest.raises(InputError) as caught:
        read_rows(path, fields)
    error = caught.value
    message = str(error)
    if "64 KiB" not in message:  # the one limit that is another for a retain file
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            RowFile(path, fields)
    assert error.exit_code == 2
    assert (error.path, error.place) == (path, None if line is None else str(line))
    where = f"{path}: " if line is None else f"{path}:{line}: "
    assert message.startswith(where)
    why = message.removeprefix(where)
    assert not any(word in why for word in ("Velmira", "Oskandt", "Quillfen"))
    return why


# Shapes


@pytest.mark.parametrize(
    ("line", "context", "response"),
    [
        ({"prompt": "Who?", "response": "Velmira."}, (("user", "Who?"),), "Velmira."),
        ({"question": "Who?", "answer": "Velmira."}, (("user", "Who?"),), "Velmira."),
        ({"text": "A passage."}, (), "A passage."),
        (
            {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Velmira."}]},
            (("user", "Who?"),),
            "Velmira.",
        ),
    ],
    ids=["prompt-response", "question-answer", "text", "messages"],
)
def test_shapes(tmp_path: Path, line: dict[str, Any], context: tuple[tuple[str, str], ...], response: str) -> None:
    row = read_one(tmp_path, line)
    assert (row.line, row.context, row.response) == (1, context, response)
    assert row == Row(1, row.context, response)  # every optional field is unset


def test_messages_keep_system_and_earlier_turns(tmp_path: Path) -> None:
    turns = [
        ("system", "Be brief."),
        ("user", "Who wrote it?"),
        ("assistant", "Velmira."),
        ("user", "When?"),
        ("assistant", "In 1931."),
    ]
    line = {"messages": [{"role": role, "content": content} for role, content in turns]}
    row = read_one(tmp_path, line, Fields(turns="last"))
    assert row.context == tuple(turns[:-1])
    assert row.response == "In 1931."
    assert row.prompt == "Be brief.\nWho wrote it?\nVelmira.\nWhen?"


def test_named_fields(tmp_path: Path) -> None:
    row = read_one(tmp_path, {"frage": "Wer?", "antwort": "Velmira."}, NAMED)
    assert (row.context, row.response) == ((("user", "Wer?"),), "Velmira.")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (Fields(names=(("prompt", "frage"),)), {"frage": "Wer?", "response": "Velmira."}),
        (Fields(names=(("response", "antwort"),)), {"prompt": "Wer?", "antwort": "Velmira."}),
    ],
    ids=["only-prompt-named", "only-response-named"],
)
def test_one_named_field_leaves_the_other_usual(tmp_path: Path, fields: Fields, line: dict[str, Any]) -> None:
    row = read_one(tmp_path, line, fields)
    assert (row.prompt, row.response) == ("Wer?", "Velmira.")


def test_named_fields_beat_the_usual_ones(tmp_path: Path) -> None:
    line = {"frage": "f", "antwort": "a", "prompt": "p", "response": "r", "text": "t"}
    assert read_one(tmp_path, line, NAMED).response == "a"


def test_text_is_kept_exactly(tmp_path: Path) -> None:
    row = read_one(tmp_path, {"prompt": "  Wer?\n", "response": " Ünal 東京\t🙂 "})
    assert (row.prompt, row.response) == ("  Wer?\n", " Ünal 東京\t🙂 ")


# Optional fields


@pytest.mark.parametrize("name", ["paraphrased_response", "paraphrased_answer"])
def test_paraphrase_under_both_names(tmp_path: Path, name: str) -> None:
    assert read_one(tmp_path, {"prompt": "p", "response": "r", name: "other words"}).paraphrased_response == (
        "other words"
    )


@pytest.mark.parametrize(
    "value",
    [
        7, "", [PRIVATE, 7], [PRIVATE, " "], [None], [[PRIVATE]], {"a": PRIVATE},
        {"kind": "date"}, {"kind": "date", "value": " "}, {"kind": "date", "value": 7},
        {"kind": "birthday", "value": PRIVATE}, {"kind": [], "value": PRIVATE},
        {"kind": "date", "value": PRIVATE, "note": PRIVATE},
    ],
)  # fmt: skip
def test_wrong_secrets(tmp_path: Path, value: object) -> None:
    assert refused_line(tmp_path, {"text": PRIVATE, "secrets": value}) == (
        "field 'secrets' must hold non-empty strings, or objects of a kind (text, number, date, email, phone, iban, "
        "address, name) and a value"
    )


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        (None, ()),
        ([], ()),
        ("0700-11", (Secret("0700-11"),)),
        ({"kind": "phone", "value": "0700-11"}, (Secret("0700-11", "phone"),)),
        ([{"value": "x", "kind": None}, {"value": "y"}], (Secret("x"), Secret("y"))),
        (["x", {"value": "1 May 1990", "kind": "date"}], (Secret("x"), Secret("1 May 1990", "date"))),
    ],
)
def test_secrets_with_and_without_a_kind(tmp_path: Path, value: object, secrets: tuple[Secret, ...]) -> None:
    (row,) = read_rows(write(tmp_path, {"text": "t", "secrets": value}))
    assert row.secrets == secrets
    assert "0700" not in repr(row.secrets)


@pytest.mark.parametrize("name", ["perturbed_responses", "perturbed_answer"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [(["wrong", "also wrong"], ("wrong", "also wrong")), ("wrong", ("wrong",)), ([], ()), (None, ())],
    ids=["list", "single", "empty", "null"],
)
def test_perturbed_under_both_names(tmp_path: Path, name: str, value: object, expected: tuple[str, ...]) -> None:
    row = read_one(tmp_path, {"question": "q", "answer": "a", name: value})
    assert row.perturbed_responses == expected


def test_our_names_beat_tofus(tmp_path: Path) -> None:
    line = {"text": "t", "paraphrased_response": "ours", "paraphrased_answer": "theirs"}
    line |= {"perturbed_responses": "ours", "perturbed_answer": "theirs"}
    row = read_one(tmp_path, line)
    assert (row.paraphrased_response, row.perturbed_responses) == ("ours", ("ours",))


def test_ids_and_secrets(tmp_path: Path) -> None:
    row = read_one(
        tmp_path, {"text": "t", "request_id": "R-7", "subject_id": "S-3", "secrets": ["0700-11", "9 Quillfen"]}
    )
    assert (row.request_id, row.subject_id, row.secrets) == ("R-7", "S-3", (Secret("0700-11"), Secret("9 Quillfen")))


def test_null_optional_fields_are_absent(tmp_path: Path) -> None:
    names = ("request_id", "subject_id", "paraphrased_answer", "perturbed_answer", "secrets")
    assert read_one(tmp_path, {"text": "t", **dict.fromkeys(names)}) == Row(1, (), "t")


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    assert read_one(tmp_path, {"text": "t", "split": "forget10", "nested": {"a": [1]}}) == Row(1, (), "t")


# Lines


def test_blank_lines_are_skipped_and_numbers_kept(tmp_path: Path) -> None:
    path = write(tmp_path, b"", {"text": "second"}, b"  \t", b"", {"text": "fifth"}, b"")
    assert [(row.line, row.response) for row in read_rows(path)] == [(2, "second"), (5, "fifth")]


def test_byte_order_mark_on_line_one(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbf{"text": "first"}', {"text": "second"})
    assert [row.response for row in read_rows(path)] == ["first", "second"]


def test_crlf(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"text": "first"}\r', b"\r", b'{"text": "third"}\r')
    assert [(row.line, row.response) for row in read_rows(path)] == [(1, "first"), (3, "third")]


def test_last_line_needs_no_break(tmp_path: Path) -> None:
    path = tmp_path / "request.jsonl"
    path.write_bytes(GOOD + GOOD.strip())
    assert [row.line for row in read_rows(path)] == [1, 2]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "request.jsonl"
    path.write_text('{"text": "one\u2028two\u0085three"}\n', encoding="utf-8")
    assert [row.response for row in read_rows(path)] == ["one\u2028two\u0085three"]


def test_longest_line_is_accepted(tmp_path: Path) -> None:
    frame = len(b'{"text": ""}\n')
    row = read_one(tmp_path, {"text": "x" * (MAX_RECORD_BYTES - frame)})
    assert len(row.response) == MAX_RECORD_BYTES - frame


# Files that are refused


def test_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.jsonl", None) == "no such file"


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path, None) == "holds no file of rows"


def test_name_longer_than_the_file_system_allows(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("a" * 300), None) == "cannot be read: File name too long"


@pytest.mark.timeout(20)
def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert refusal(path, None) == "is not a regular file"


@pytest.mark.parametrize("content", [b"", b"\n \n\t\r\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
def test_no_rows(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "request.jsonl"
    path.write_bytes(content)
    assert refusal(path, None) == "holds no row"


# Lines that are refused; the third line of its file, after a good and a blank one


def refused_line(folder: Path, line: dict[str, Any] | bytes) -> str:
    return refusal(write(folder, GOOD.strip(), b"", line), 3)


@pytest.mark.parametrize(
    "line",
    [
        f'{{"prompt": "{PRIVATE}", "response": }}'.encode(),
        f'{{"prompt": "{PRIVATE}'.encode(),
        f'{{"prompt": "p", "response": "{PRIVATE}"}} {PRIVATE}'.encode(),
        f'{{"prompt": "\\Q{PRIVATE}", "response": "r"}}'.encode(),
        f'{{"prompt": "{PRIVATE}\x01", "response": "r"}}'.encode(),
        f"{{'prompt': '{PRIVATE}'}}".encode(),
        PRIVATE.encode(),
        b'\xef\xbb\xbf{"text": "a byte order mark that is not on line one"}',
    ],
    ids=["hole", "torn", "trailing", "escape", "control", "quotes", "bare", "mark"],
)
def test_invalid_json(tmp_path: Path, line: bytes) -> None:
    assert refused_line(tmp_path, line).startswith("is not valid JSON (column ")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f'["{PRIVATE}"]'.encode(), "array"),
        (f'"{PRIVATE}"'.encode(), "string"),
        (b"17", "number"),
        (b"true", "boolean"),
        (b"null", "null"),
    ],
)
def test_not_an_object(tmp_path: Path, line: bytes, kind: str) -> None:
    assert refused_line(tmp_path, line) == f"is a JSON {kind}, expected one object a line"


def test_not_utf8(tmp_path: Path) -> None:
    line = f'{{"text": "{PRIVATE} '.encode() + 'Ünal"}'.encode("latin-1")
    assert refused_line(tmp_path, line) == f"is not UTF-8 (byte {len(PRIVATE) + 12} of the line)"


def test_utf16_file(tmp_path: Path) -> None:
    path = tmp_path / "request.jsonl"
    path.write_bytes(json.dumps({"text": PRIVATE}).encode("utf-16"))
    assert refusal(path, 1) == "is not UTF-8 (byte 1 of the line)"


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ({"prompt": PRIVATE}, "response"),
        ({"response": PRIVATE}, "prompt"),
        ({"question": PRIVATE}, "answer"),
        ({"answer": PRIVATE}, "question"),
        ({"prompt": PRIVATE, "answer": PRIVATE}, "response"),
    ],
)
def test_missing_field(tmp_path: Path, line: dict[str, Any], missing: str) -> None:
    assert refused_line(tmp_path, line) == f"field '{missing}' is missing"


def test_missing_named_field(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": PRIVATE, "antwort": PRIVATE}, {"prompt": PRIVATE, "response": PRIVATE})
    assert refusal(path, 2, Fields(names=(("response", "antwort"),))) == "field 'antwort' is missing"


def test_no_known_shape_tells_how_to_name_fields(tmp_path: Path) -> None:
    why = refused_line(tmp_path, {"frage": PRIVATE, "antwort": PRIVATE})
    assert "has none of chosen/rejected" in why
    assert "--map" in why


@pytest.mark.parametrize("blank", ["", "  ", "\n\t ", "\u3000"])
@pytest.mark.parametrize("name", ["prompt", "response", "request_id", "subject_id", "paraphrased_answer"])
def test_blank_field(tmp_path: Path, name: str, blank: str) -> None:
    why = refused_line(tmp_path, {"prompt": PRIVATE, "response": PRIVATE, name: blank})
    assert why == f"field '{name}' is empty"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (7, "number"),
        (True, "boolean"),
        ([PRIVATE], "array"),
        ({"a": PRIVATE}, "object"),
    ],
)
@pytest.mark.parametrize("name", ["prompt", "response", "paraphrased_answer"])
def test_wrong_type(tmp_path: Path, name: str, value: object, kind: str) -> None:
    why = refused_line(tmp_path, {"prompt": PRIVATE, "response": PRIVATE, name: value})
    assert why == f"field '{name}' is a JSON {kind}, expected a string"


@pytest.mark.parametrize("name", ["request_id", "subject_id"])
def test_whole_numbers_name_people_and_requests(tmp_path: Path, name: str) -> None:
    assert getattr(read_one(tmp_path, {"text": "t", name: 17}), name) == "17"
    for value, kind in ((True, "boolean"), (17.0, "number"), ([17], "array")):
        why = refused_line(tmp_path, {"text": PRIVATE, name: value})
        assert why == f"field '{name}' is a JSON {kind}, expected a string"


def test_null_response(tmp_path: Path) -> None:
    why = refused_line(tmp_path, {"prompt": PRIVATE, "response": None})
    assert why == "field 'response' is null"


@pytest.mark.parametrize("name", ["perturbed_responses", "perturbed_answer"])
@pytest.mark.parametrize("value", [7, {"a": PRIVATE}, [PRIVATE, 7], [PRIVATE, " "], "", [None], [[PRIVATE]]])
def test_wrong_list(tmp_path: Path, name: str, value: object) -> None:
    why = refused_line(tmp_path, {"text": PRIVATE, name: value})
    assert why == f"field '{name}' must be a list of non-empty strings"


def message(role: object, content: object = PRIVATE) -> dict[str, object]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "field 'messages' must be a list of objects"),
        (PRIVATE, "field 'messages' must be a list of objects"),
        (None, "field 'messages' is null"),
        ([PRIVATE, message("assistant")], "field 'messages' must be a list of objects"),
        ([message("assistant")], "begins with what the assistant says, which answers nothing"),
        ([message("assistant"), message("user")], "begins with what the assistant says, which answers nothing"),
        ([message("user")], "holds no text of the assistant's that could be a target"),
        ([message("user"), message("judge")], "message 2: needs a role, one of system, user, assistant, tool"),
        ([message(None), message("assistant")], "message 1: needs a role, one of system, user, assistant, tool"),
        ([message(["user"]), message("assistant")], "message 1: needs a role, one of system, user, assistant, tool"),
        ([message("user"), message("assistant", " ")], "message 2: has no text"),
        ([message("user", None), message("assistant")], "message 1: has no text"),
        ([{"role": "user"}, message("assistant")], "message 1: has no text"),
        ([message("user", 7), message("assistant")], "message 1: has a JSON number for text"),
        ([message("user"), message("assistant"), message("tool", "")], "message 3: has no text"),
    ],
)
def test_bad_messages(tmp_path: Path, messages: object, why: str) -> None:
    assert refused_line(tmp_path, {"messages": messages}) == why


@pytest.mark.parametrize(
    "line",
    [b"[" * 60_000, b'{"text": ' + b"[" * 60_000, b'{"a":' * 13_000, b"[" * 30_000 + b"]" * 30_000],
    ids=["open", "in-a-field", "objects", "closed"],
)
def test_deep_nesting(tmp_path: Path, line: bytes) -> None:
    assert refused_line(tmp_path, line) == "is nested too deeply"


def test_hundred_thousand_brackets(tmp_path: Path) -> None:
    assert refused_line(tmp_path, b"[" * 100_000) == "line is longer than 64 KiB"


def test_number_too_long_for_python(tmp_path: Path) -> None:
    """Python refuses to read an integer of more than 4300 digits with a bare ValueError."""
    line = f'{{"text": "{PRIVATE}", "n": {"9" * 5000}}}'.encode()
    assert refused_line(tmp_path, line) == "holds a whole number that is too large"


@pytest.mark.parametrize(
    "line",
    [
        {"text": f"{PRIVATE} \ud800"},
        {"prompt": "\udfff", "response": "r"},
        {"text": "t", "request_id": "\ud83d"},
        {"text": "t", "secrets": ["fine", "\udc00"]},
        {"text": "t", "perturbed_answer": "\udc00"},
        {"text": "t", "paraphrased_answer": "\udc00"},
        {"messages": [message("user", "\udc00"), message("assistant")]},
        {"messages": [message("user"), message("assistant", "\udc00")]},
    ],
)
def test_lone_surrogate(tmp_path: Path, line: dict[str, Any]) -> None:
    assert refused_line(tmp_path, line) == "holds a lone surrogate, which is not text"


def test_paired_surrogates_are_one_character(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"text": "\\ud83d\\ude42"}')
    assert read_rows(path)[0].response == "🙂"


@pytest.mark.parametrize("ended", [True, False])
def test_line_over_64_kib(tmp_path: Path, ended: bool) -> None:
    path = tmp_path / "request.jsonl"
    long = json.dumps({"text": PRIVATE + "x" * MAX_RECORD_BYTES}).encode()
    path.write_bytes(GOOD + long + (b"\n" + GOOD if ended else b""))
    assert refusal(path, 2) == "line is longer than 64 KiB"


def test_first_bad_line_is_the_one_named(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.strip(), {"prompt": PRIVATE}, {"text": ""})
    assert refusal(path, 2) == "field 'response' is missing"


# Round trip

printable = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60)
words = printable.filter(lambda text: bool(text.strip()))
rows_as_json = st.fixed_dictionaries(
    {"prompt": words, "response": words},
    optional={
        "request_id": words,
        "subject_id": words,
        "paraphrased_response": words,
        "perturbed_responses": st.lists(words, max_size=3),
        "secrets": st.lists(words, max_size=3),
    },
)


@settings(deadline=None)
@given(st.lists(rows_as_json, min_size=1, max_size=8), st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ascii_only: bool) -> None:
    """Any rows written as JSONL read back equal, escaped or not."""
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), encoding="utf-8")
    expected = [
        Row(
            line=number,
            context=(("user", row["prompt"]),),
            response=row["response"],
            request_id=row.get("request_id"),
            subject_id=row.get("subject_id"),
            paraphrased_response=row.get("paraphrased_response"),
            perturbed_responses=tuple(row.get("perturbed_responses", ())),
            secrets=tuple(map(Secret, row.get("secrets", ()))),
        )
        for number, row in enumerate(rows, start=1)
    ]
    assert read_rows(path) == expected


# Rows that stay in their file

LINES = (
    b'\xef\xbb\xbf{"text": "first"}',
    b"",
    b'{"prompt": "p", "response": "\xe6\x9d\xb1"}\r',
    {"text": "fourth"},
    b" ",
)


def test_row_file_is_the_sequence_that_is_read_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    rows, expected = RowFile(path), read_rows(path)
    assert [row.line for row in expected] == [1, 3, 4]
    assert (len(rows), list(rows), list(rows)) == (3, expected, expected)
    assert [rows[i] for i in (2, 0, -1, -3, 1)] == [expected[i] for i in (2, 0, -1, -3, 1)]
    assert (rows[1:], rows[::-2], rows[5:]) == (expected[1:], expected[::-2], [])
    for index in (3, -4):
        with pytest.raises(IndexError):
            rows[index]


@settings(deadline=None)
@given(st.lists(rows_as_json, min_size=1, max_size=8), st.booleans())
def test_row_file_of_any_rows(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], end: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "row-file.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n" * end, encoding="utf-8")
    assert [*RowFile(path)] == read_rows(path)
    assert RowFile(path)[len(rows) - 1] == read_rows(path)[-1]


def test_row_file_with_named_fields(tmp_path: Path) -> None:
    rows = RowFile(write(tmp_path, {"frage": "Wer?", "antwort": "Velmira."}), NAMED)
    assert (rows[0].prompt, rows[0].response) == ("Wer?", "Velmira.")


def test_row_file_has_lines_of_its_own_length(tmp_path: Path) -> None:
    path = tmp_path / "retain.jsonl"
    frame = len(b'{"text": ""}\n')
    path.write_bytes(GOOD + b'{"text": "' + b"x" * (RETAIN_RECORD_BYTES - frame) + b'"}\n' + GOOD)
    assert [len(row.response) for row in RowFile(path)] == [1, RETAIN_RECORD_BYTES - frame, 1]
    path.write_bytes(GOOD + b'{"text": "' + b"x" * (RETAIN_RECORD_BYTES - frame + 1) + b'"}\n')
    with pytest.raises(InputError, match=":2: line is longer than 16384 KiB"):
        RowFile(path)


@pytest.mark.parametrize(
    ("old", "new", "position", "where"),
    [
        (b"first", b"fifth", 0, ":1: "),  # valid, and of the same length
        (b"fourth", b"f\xffurth", 2, ":4: "),
        (b'{"text": "fourth"}', b'{"text": "fourth" ', 2, ":4: "),
        (b"fourth", b"fourteenth", 2, ": "),
        (b"first", b"f", 2, ": "),
    ],
    ids=["other text", "no longer UTF-8", "no longer JSON", "longer", "shorter"],
)
def test_a_file_that_changes_after_its_check(tmp_path: Path, old: bytes, new: bytes, position: int, where: str) -> None:
    path = write(tmp_path, *LINES)
    rows = RowFile(path, kept=0)
    path.write_bytes(path.read_bytes().replace(old, new))
    for read in (lambda: rows[position], lambda: list(rows), lambda: rows[position:]):
        with pytest.raises(InputError, match=f"^{re.escape(f'{path}{where}')}has changed since it was checked$"):
            read()


def test_a_file_that_goes_on_growing(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    rows = RowFile(path, kept=0)
    with path.open("ab") as file:
        file.write(GOOD)
    with pytest.raises(InputError, match="has changed since it was checked"):
        rows[0]


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, *({"text": "x" * 40_000} for _ in range(8)), {"text": "last"})
    rows = iter(RowFile(path, kept=0))
    next(rows)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 8)
        file.write(b"most")
    with pytest.raises(InputError, match=":9: has changed since it was checked"):
        list(rows)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    rows = RowFile(path, kept=0)
    path.unlink()
    with pytest.raises(InputError, match=r"request\.jsonl: no such file"):
        rows[0]


def test_rows_that_are_held_are_those_that_were_checked(tmp_path: Path) -> None:
    """Whatever becomes of the file; its digest tells."""
    path = write(tmp_path, *LINES)
    rows, expected = RowFile(path), read_rows(path)
    path.write_bytes(path.read_bytes().replace(b"first", b"fifth"))
    assert (list(rows), rows.pick([2, 0])) == (expected, [expected[2], expected[0]])
    assert rows.sha256 != file_digest(path)


def test_a_file_is_held_up_to_a_size_and_reads_alike_beyond(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    size = path.stat().st_size
    held, left = RowFile(path, kept=size), RowFile(path, kept=size - 1)
    assert list(held) == list(left) == read_rows(path)
    assert held.pick([2, 0, 1]) == left.pick([2, 0, 1])
    assert held.sha256 == left.sha256 == file_digest(path)
    path.unlink()
    assert len(list(held)) == 3
    with pytest.raises(InputError):
        left[0]


def test_a_file_is_read_once_and_has_the_digest_of_what_was_read(tmp_path: Path) -> None:
    path, reader = write(tmp_path, *LINES), RowReader()
    first = reader.read(path, Fields())
    assert first.sha256 == file_digest(path)
    path.write_bytes(GOOD)
    assert reader.read(path, Fields()) == first
    with pytest.raises(InputError):
        reader.read(path, Fields(names=(("prompt", "frage"),)))
    assert "first" not in repr(first)


# Through the command line


def test_bad_row_ends_the_command_with_one_line(tmp_path: Path) -> None:
    """The rows are read before the model is looked for, so none is needed here."""
    path = write(tmp_path, GOOD.strip(), {"prompt": PRIVATE, "response": 7})
    result = CliRunner().invoke(cli, ["unlearn", "--model", str(tmp_path / "none"), "--forget", str(path)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"Error: {path}:2: field 'response' is a JSON number, expected a string\n"
