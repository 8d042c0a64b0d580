"""Private keys under a passphrase: PKCS #8 with PBES2, whose key comes of scrypt (RFC 5958, 8018 and 7914).

`cryptography` reads this and cannot write it: for PKCS #8 it derives the key with 2048 rounds of PBKDF2, where OWASP
asks for 600,000. So the 200 bytes of DER are put together here.
"""

from __future__ import annotations

import base64
import os
import textwrap

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

COST, BLOCKS, LANES = 2**14, 8, 5
"""scrypt's N, r and p: OWASP's choice for 16 MiB, the most that `openssl` also reads without being told to."""
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_AES_256_CBC = bytes.fromhex("60864801650304012a")
_SEQUENCE, _OID, _INTEGER, _BYTES = 0x30, 0x06, 0x02, 0x04


def encrypted_pem(private: bytes, passphrase: bytes) -> bytes:
    """The PEM file of a private key. private: it as PKCS #8 in DER, not encrypted."""
    salt, vector = os.urandom(16), os.urandom(16)
    key = Scrypt(salt, length=32, n=COST, r=BLOCKS, p=LANES).derive(passphrase)
    padder = PKCS7(AES256.block_size).padder()
    encryptor = Cipher(AES256(key), CBC(vector)).encryptor()
    data = encryptor.update(padder.update(private) + padder.finalize()) + encryptor.finalize()
    derivation = _sequence(_der(_OID, _SCRYPT), _sequence(_der(_BYTES, salt), *map(_integer, (COST, BLOCKS, LANES))))
    scheme = _sequence(_der(_OID, _AES_256_CBC), _der(_BYTES, vector))
    whole = _sequence(_sequence(_der(_OID, _PBES2), _sequence(derivation, scheme)), _der(_BYTES, data))
    lines = textwrap.wrap(base64.b64encode(whole).decode(), 64)
    name = "ENCRYPTED PRIVATE KEY"
    return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", ""]).encode()


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, content: bytes) -> bytes:
    """A value with its tag and length; as nothing here is longer than 64 KiB, the length has at most three bytes."""
    size = len(content)
    length = (
        bytes([size]) if size < 0x80 else bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + content
