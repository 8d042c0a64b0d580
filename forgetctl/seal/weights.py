"""OpenSSF signatures of a model's weights, for those who check models with `model_signing`. An optional extra.

The package signs with keys on the curve P-256, so this key is another one than the seal's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ..errors import InputError, UsageError
from ..files import write_bytes
from .keys import is_encrypted, public_file, refuse_existing

IGNORED = "README.md"
"""The model card, which is written anew after the weights are signed."""


def generate_weights_key(path: Path, passphrase: str | None = None) -> Path:
    """Write a new P-256 key pair; returns the public key's file. Raises UsageError if either file exists."""
    public_path = public_file(path)
    refuse_existing(path, public_path)
    private = generate_private_key(SECP256R1())
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    write_bytes(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_bytes(public_path, public)
    return public_path


def sign_weights(model: Path, signature: Path, key: Path, passphrase: str | None = None) -> None:
    """Sign every file of a model but its card. Raises UsageError without the extra, InputError for the key."""
    package = _package()
    secret = passphrase.encode() if passphrase and is_encrypted(key) else None
    try:
        package.signing.Config().use_elliptic_key_signer(private_key=key, password=secret).set_hashing_config(
            _hashing(package, model)
        ).sign(model, signature)
    except (ValueError, TypeError, AttributeError, OSError):
        raise InputError(key, "is no P-256 key that can sign, or its passphrase is wrong") from None


def check_weights(model: Path, signature: Path, key: Path) -> bool:
    """Whether the signature is one of this model by this public key. Raises UsageError without the extra."""
    package = _package()
    try:
        package.verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(
            _hashing(package, model)
        ).verify(model, signature)
    except (ValueError, TypeError, AttributeError, OSError, InvalidSignature):
        return False
    return True


def _hashing(package: Any, model: Path) -> Any:
    return package.hashing.Config().set_ignored_paths(paths=[model / IGNORED], ignore_git_paths=True)


def _package() -> Any:
    try:
        import model_signing
    except ImportError:
        raise UsageError("signatures of weights need the extra: pip install 'forgetctl[model-signing]'") from None
    return model_signing
