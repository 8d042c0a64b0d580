"""Ed25519 keys in PEM files: the private one (PKCS #8, encrypted if a passphrase is given) and the public one."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from ..errors import InputError, UsageError
from ..files.outside import read_bytes
from ..files.writing import refuse_in_bundle, write_new
from ._pkcs8 import encrypted_pem

LARGEST_KEY = 2**16
"""Bytes of a key's file."""
LONGEST_PASSPHRASE = 1023
"""OpenSSL's limit, in bytes."""
Signer = CryptoSigner
"""What signs with a private key, and knows its public one."""


def generate_key(path: Path, passphrase: str | None = None) -> tuple[Path, str]:
    """Write a new key pair: the private key to `path`, the public one beside it with the suffix .pub.

    Returns the public key's file and id. Raises UsageError if either file exists.
    """
    private = Ed25519PrivateKey.generate()
    return write_pair(private, path, passphrase), SSlibKey.from_crypto(private.public_key()).keyid


def write_pair(private: Ed25519PrivateKey | EllipticCurvePrivateKey, path: Path, passphrase: str | None) -> Path:
    """Write a private key to `path` and its public key beside it; returns the latter's file.

    Raises UsageError if either file exists, or for a passphrase that cannot protect a key.
    """
    pem = _pem(private, passphrase)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public_path = public_file(path)
    refuse_in_bundle(path.parent)
    write_new(path, pem)
    write_new(public_path, public)
    return public_path


def _pem(private: Ed25519PrivateKey | EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    if passphrase is None:
        return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError:
        secret = b""
    if not 0 < len(secret) <= LONGEST_PASSPHRASE:
        raise UsageError(f"a passphrase has 1 to {LONGEST_PASSPHRASE} bytes of text")
    return encrypted_pem(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), secret)


def public_file(path: Path) -> Path:
    """Where the public key of a private one is written."""
    return path.with_name(path.name + ".pub")


def is_encrypted(path: Path) -> bool:
    """Whether a private key needs a passphrase. Raises InputError if the file cannot be read."""
    return b"ENCRYPTED" in _read(path)


def load_signer(path: Path, passphrase: str | None = None) -> Signer:
    """What signs with a private key.

    Raises InputError if the file holds no Ed25519 private key, or not one that the passphrase opens.
    """
    data = _read(path)
    try:
        key = load_pem_private_key(data, secret_for(path, passphrase))
    except TypeError:
        raise InputError(path, "is encrypted and needs its passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(path, "is no private key, or the passphrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(path, "is no Ed25519 key")
    return Signer(key)


def secret_for(path: Path, passphrase: str | None) -> bytes | None:
    """The passphrase as a key's reader wants it: None for a key that needs none."""
    return passphrase.encode("utf-8", "surrogateescape") if passphrase and is_encrypted(path) else None


def load_public(path: Path) -> SSlibKey:
    """A public key. Raises InputError if the file holds none of Ed25519, also if it holds a private one."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(path, "is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(path, "is no Ed25519 key")
    return SSlibKey.from_crypto(key)


def _read(path: Path) -> bytes:
    return read_bytes(path, LARGEST_KEY)
