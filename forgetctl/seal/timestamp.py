"""RFC 3161 time stamps: an authority's word that a manifest existed at a certain time."""

from __future__ import annotations

import http.client
import time
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from ..errors import ForgetctlError, InputError, UsageError
from ..files.canonical import MalformedError
from ..files.outside import read_bytes

TIMEOUT_SECONDS = 30
MOST_BYTES = 2**20


def request_timestamp(url: str, data: bytes) -> bytes:
    """Ask the server at `url` to stamp the SHA-256 of `data`; nothing but the digest leaves this machine.

    Raises UsageError for an address that is not http(s), ForgetctlError if the server gives no token for this digest.
    """
    asked = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    server = _server(url)
    try:
        token = _post(url, asked.as_bytes())
        response = read_timestamp(token)
    except MalformedError as error:
        raise ForgetctlError(f"{server}: no time stamp: the answer {error}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ForgetctlError(f"{server}: no time stamp: {type(error).__name__}") from None
    if (
        response.tst_info.nonce != asked.nonce
        or response.tst_info.message_imprint.message != asked.message_imprint.message
    ):
        raise ForgetctlError(f"{server}: the answer is a time stamp of something else")
    return token


def _server(url: str) -> str:
    """The server's name without what an address may hold besides, such as a password. Raises UsageError."""
    try:
        parts = urllib.parse.urlsplit(url)
        name = parts.hostname
    except ValueError:
        name = None
    if name is None or parts.scheme not in ("http", "https"):
        raise UsageError("--timestamp: a time-stamp server has an http or https address")
    return name


def _post(url: str, body: bytes) -> bytes:
    """The answer, as far as it is no longer than a token can be. Raises TimeoutError from a server that dawdles."""
    query = urllib.request.Request(  # noqa: S310  the scheme was checked
        url, data=body, headers={"Content-Type": "application/timestamp-query"}
    )
    end, received = time.monotonic() + TIMEOUT_SECONDS, b""
    with urllib.request.urlopen(query, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        while len(received) < MOST_BYTES and (part := answer.read1(MOST_BYTES)):
            received += part
            if time.monotonic() > end:
                raise TimeoutError
    return received


def read_timestamp(token: bytes) -> TimeStampResponse:
    """A granted response. Raises MalformedError for anything else."""
    try:
        response = decode_timestamp_response(token)
        if response.status != 0:
            raise MalformedError("is no time stamp: the server refused")
        response.tst_info.gen_time  # noqa: B018  a response without a token has none, and says so here
    except MalformedError:
        raise
    except ValueError:
        raise MalformedError("is no RFC 3161 time stamp") from None
    return response


def check_timestamp(token: bytes, data: bytes, root: Path) -> datetime:
    """The time at which an authority under the certificate in `root` stamped `data`.

    Raises InputError for a file that holds no certificate, VerificationError if the token does not hold.
    """
    try:
        certificates = x509.load_pem_x509_certificates(read_bytes(root, MOST_BYTES))
    except ValueError:
        raise InputError(root, "holds no certificate in PEM") from None
    response = read_timestamp(token)
    verifier = VerifierBuilder(roots=list(certificates)).build()
    try:
        verifier.verify_message(response, data)
    except ValueError as error:
        raise VerificationError(str(error)) from None
    return response.tst_info.gen_time
