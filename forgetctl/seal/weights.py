"""OpenSSF signatures of a model's weights, for those who check models with `model_signing`. An optional extra.

The package signs with keys on the curve P-256, so this key is another one than the seal's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from ..errors import InputError, UsageError
from ..files.writing import CARD
from .keys import secret_for, write_pair

IGNORED = CARD
"""It is written anew after the weights are signed."""


def generate_weights_key(path: Path, passphrase: str | None = None) -> Path:
    """Write a new P-256 key pair; returns the public key's file. Raises UsageError as `write_pair`."""
    return write_pair(generate_private_key(SECP256R1()), path, passphrase)


def sign_weights(model: Path, signature: Path, key: Path, passphrase: str | None = None) -> None:
    """Sign every file of a model but its card. Raises UsageError without the extra, InputError for the key."""
    package = _package()
    secret = secret_for(key, passphrase)
    try:
        signer = package.signing.Config().use_elliptic_key_signer(private_key=key, password=secret)
        signer.set_hashing_config(_hashing(package, model)).sign(model, signature)
    except (ValueError, TypeError, AttributeError, OSError):
        raise InputError(key, "is no P-256 key that can sign, or its passphrase is wrong") from None


def check_weights(model: Path, signature: Path, key: Path) -> bool:
    """Whether the signature is one of this model by this public key.

    Raises UsageError without the extra, InputError if the key is none that can check.
    """
    package = _package()
    try:
        verifier = package.verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (ValueError, TypeError, AttributeError, OSError):
        raise InputError(key, "is no public P-256 key") from None
    try:
        verifier.set_hashing_config(_hashing(package, model)).verify(model, signature)
    except (ValueError, TypeError, AttributeError, LookupError, OSError, InvalidSignature):
        return False
    return True


def _hashing(package: Any, model: Path) -> Any:
    config = package.hashing.Config().set_ignored_paths(paths=[model / IGNORED], ignore_git_paths=True)
    return config.set_allow_symlinks(True)  # in the hub's cache every file is one


def _package() -> Any:
    try:
        import model_signing
    except ImportError:
        raise UsageError("signatures of weights need the extra: pip install 'forgetctl[model-signing]'") from None
    return model_signing
