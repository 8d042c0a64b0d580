"""Ed25519 keys in PEM files: the private one (PKCS #8, encrypted if a passphrase is given) and the public one."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from ..errors import InputError, UsageError
from ..files import write_bytes

Signer = CryptoSigner
"""What signs with a private key, and knows its public one."""


def generate_key(path: Path, passphrase: str | None = None) -> tuple[Path, str]:
    """Write a new key pair: the private key to `path`, the public one beside it with the suffix .pub.

    Returns the public key's file and id. Raises UsageError if either file exists.
    """
    public_path = public_file(path)
    refuse_existing(path, public_path)
    private = Ed25519PrivateKey.generate()
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    write_bytes(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    public = private.public_key()
    write_bytes(public_path, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public_path, SSlibKey.from_crypto(public).keyid


def refuse_existing(*files: Path) -> None:
    """Raise UsageError if one of the files exists."""
    for file in files:
        if file.exists() or file.is_symlink():
            raise UsageError(f"{file} exists; a key is never overwritten")


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
        key = load_pem_private_key(data, passphrase.encode() if passphrase and is_encrypted(path) else None)
    except TypeError:
        raise InputError(path, "is encrypted and needs its passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(path, "is no private key, or the passphrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(path, "is no Ed25519 key")
    return Signer(key)


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
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None
