"""Strict JSON in one spelling only, so that equal contents have equal digests (RFC 8785)."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, NoReturn

import rfc8785

MAX_BYTES = 256 * 2**20
"""Larger files are refused: an auditor reads what somebody else made."""


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
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_exact,
        )
    except UnicodeDecodeError:
        raise MalformedError("is not UTF-8") from None
    except MalformedError:
        raise
    except (ValueError, RecursionError):
        raise MalformedError("is not JSON") from None


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("has a key twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _exact(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > 2**53 - 1:
        raise MalformedError("holds a whole number that is too large")
    return value


def _refuse(_: str) -> NoReturn:
    raise MalformedError("holds NaN or infinity, which are not JSON")
