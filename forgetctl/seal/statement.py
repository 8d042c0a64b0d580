"""What is signed: an in-toto Statement v1 about the manifest, in a DSSE envelope with Ed25519 signatures.

https://github.com/in-toto/attestation and https://github.com/secure-systems-lab/dsse, by securesystemslib.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import StorageError, UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from ..files.canonical import MalformedError, canonical, parse_canonical

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:forgetctl:sealed-run:v1"
_KEYID = re.compile(r"[!-~]{1,128}")


def make_statement(subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> bytes:
    """The payload. subjects: SHA-256 digests by name; predicate: what is said of them."""
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
            "predicateType": PREDICATE_TYPE,
            "predicate": dict(predicate),
        }
    )


def sign_statement(payload: bytes, signer: CryptoSigner) -> bytes:
    """The bytes of an envelope with one signature."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def add_signature(data: bytes, signer: CryptoSigner) -> bytes:
    """The envelope with one more signature, in place of a bad one that somebody put in the name of this key.

    Raises MalformedError if it is none, or already has a good one by this key.
    """
    envelope = read_envelope(data)
    good, _ = check_signatures(envelope, [signer.public_key])
    if good:
        raise MalformedError("is signed with this key already")
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def read_envelope(data: bytes) -> Envelope:
    """An envelope in its one spelling. Raises MalformedError for anything else, also for unknown payload types."""
    value = parse_canonical(data)
    if value.keys() != {"payload", "payloadType", "signatures"}:
        raise MalformedError("is no DSSE envelope")
    if value["payloadType"] != PAYLOAD_TYPE:
        raise MalformedError("has an unknown payload type")
    signatures = value["signatures"]
    if not isinstance(value["payload"], str):
        raise MalformedError("has no payload")
    if not isinstance(signatures, list) or not signatures or not all(map(_is_signature, signatures)):
        raise MalformedError("has no signatures, or some that are none")
    try:
        envelope = Envelope.from_dict(deepcopy(value))  # it changes what it is given
    except (ValueError, KeyError, TypeError):
        raise MalformedError("is no DSSE envelope") from None
    if canonical(envelope.to_dict()) != data:
        raise MalformedError("is spelled in another base64 than the usual one")
    return envelope


def read_statement(envelope: Envelope) -> tuple[dict[str, str], dict[str, Any]]:
    """Subjects, as digests by name, and predicate. Raises MalformedError if the payload is no statement of ours."""
    value = parse_canonical(envelope.payload)
    kinds = (value.get("_type"), value.get("predicateType"))
    if value.keys() != {"_type", "subject", "predicateType", "predicate"} or kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise MalformedError("signs something else than a sealed run")
    if not isinstance(value["subject"], list) or not isinstance(value["predicate"], dict):
        raise MalformedError("signs nothing")
    try:
        named = [(str(item["name"]), str(item["digest"]["sha256"])) for item in value["subject"]]
    except (KeyError, TypeError):
        raise MalformedError("has a subject without name or digest") from None
    subjects = dict(named)
    if len(subjects) != len(named):
        raise MalformedError("names a subject twice")
    return subjects, value["predicate"]


def check_signatures(envelope: Envelope, keys: Sequence[SSlibKey]) -> tuple[list[str], list[str]]:
    """Ids of the keys that signed this payload, and of those whose signature is no good."""
    good: list[str] = []
    bad: list[str] = []
    for key in {key.keyid: key for key in keys}.values():
        signature = envelope.signatures.get(key.keyid)
        if signature is None:
            continue
        try:
            key.verify_signature(signature, envelope.pae())
            good.append(key.keyid)
        except (UnverifiedSignatureError, VerificationError, StorageError):
            bad.append(key.keyid)
    return good, bad


def _is_signature(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"keyid", "sig"}:
        return False
    keyid, signature = value["keyid"], value["sig"]
    return isinstance(keyid, str) and bool(_KEYID.fullmatch(keyid)) and isinstance(signature, str) and bool(signature)
