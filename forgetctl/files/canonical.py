"""Strict JSON in one spelling only, so that equal contents have equal digests (RFC 8785)."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from .outside import LARGEST_BYTES
from .strict_json import LooseJSONError, parse_json

MAX_BYTES = LARGEST_BYTES
"""Larger files are refused: an auditor reads what somebody else made."""
EXACT = 2**53 - 1
"""Largest whole number that a double holds exactly, and so every reader of JSON."""


class MalformedError(ValueError):
    """Bytes that are not what they must be. The message says why and quotes nothing."""


def canonical(value: Any) -> bytes:
    """The RFC 8785 spelling of a JSON value. Raises MalformedError for what JSON cannot hold."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError):
        raise MalformedError("holds a value that canonical JSON cannot spell") from None


def parse(data: bytes) -> Any:
    """JSON without duplicate keys, and with numbers only that a double holds. Raises MalformedError."""
    if len(data) > MAX_BYTES:
        raise MalformedError(f"is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return parse_json(data.decode("utf-8"), EXACT, surrogates=True)
    except UnicodeDecodeError:
        raise MalformedError("is not UTF-8") from None
    except LooseJSONError as error:
        raise MalformedError(str(error)) from None


def parse_object(data: bytes) -> dict[str, Any]:
    """The same for an object. Raises MalformedError."""
    value = parse(data)
    if not isinstance(value, dict):
        raise MalformedError("is not a JSON object")
    return value


def parse_canonical(data: bytes) -> dict[str, Any]:
    """The same for an object in its canonical spelling; any other spelling is MalformedError."""
    value = parse_object(data)
    if canonical(value) != data:
        raise MalformedError("is not in canonical spelling (RFC 8785)")
    return value


def sha256(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
