"""RFC 3161 time stamps from a real authority on this machine: openssl behind a small HTTP server."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from forgetctl.errors import ForgetctlError, InputError, UsageError
from forgetctl.seal.seal import SealOptions, run_seal
from forgetctl.seal.timestamp import request_timestamp
from tests.seal.conftest import Evidence
from tests.seal.verified import verified_run

SETTINGS = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


def certificate(name: str, key: RSAPrivateKey, issuer: str, signer: RSAPrivateKey, *, root: bool) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
    )
    if not root:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    return made.sign(signer, SHA256())


class Authority:
    """A time-stamp authority with a certificate under a root of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root.pem"
        root_key, key = (generate_private_key(65537, 2048) for _ in range(2))
        self.root.write_bytes(certificate("root", root_key, "root", root_key, root=True).public_bytes(Encoding.PEM))
        own = certificate("tsa", key, "root", root_key, root=False)
        (folder / "tsa.pem").write_bytes(own.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "tsa.key").write_bytes(private)
        (folder / "serial").write_text("01")
        (folder / "tsa.cnf").write_text(SETTINGS.format(folder=folder))

    def answer(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "answer"]
        command += ["-signer", "tsa.pem", "-inkey", "tsa.key"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "answer").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to act as a time-stamp authority")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def address(authority: Authority) -> Iterator[Callable[[Callable[[bytes], bytes]], str]]:
    """Addresses of servers that answer as they are told."""
    servers: list[HTTPServer] = []

    def serve(answer: Callable[[bytes], bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/timestamp-query"
                told = answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def stamped(
    authority: Authority,
    address: Callable[[Callable[[bytes], bytes]], str],
    sealed: Evidence,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    run = verified_run(tmp_path_factory.mktemp("stamped"))
    return run_seal(SealOptions(path=run.path, key=sealed.officer, timestamp=address(authority.answer)))


def test_a_stamped_bundle(stamped: Path, authority: Authority, sealed: Evidence) -> None:
    code, found = sealed.audit(stamped, tsa_root=authority.root)
    assert code == 0
    time = next(finding for finding in found if finding.check == "time stamp")
    assert time.status == "ok"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(time.text)) < timedelta(minutes=5)
    unchecked = next(finding for finding in sealed.audit(stamped)[1] if finding.check == "time stamp")
    assert unchecked.status == "note"
    assert "not checked" in unchecked.text


def test_openssl_agrees(stamped: Path, authority: Authority) -> None:
    command = ["openssl", "ts", "-verify", "-data", "manifest.json", "-in", "timestamp.tsr", "-CAfile"]
    done = subprocess.run([*command, str(authority.root)], cwd=stamped, capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout, done.stderr


def test_another_authority_is_not_believed(stamped: Path, sealed: Evidence, tmp_path: Path) -> None:
    code, found = sealed.audit(stamped, tsa_root=Authority(tmp_path).root)
    assert code == 1
    assert "not signed under" in next(finding.text for finding in found if finding.check == "time stamp")
    (tmp_path / "none.pem").write_text("none")
    with pytest.raises(InputError, match="no certificate"):
        sealed.audit(stamped, tsa_root=tmp_path / "none.pem")


def test_who_asks_for_a_time_stamp_must_get_one(sealed: Evidence, authority: Authority) -> None:
    assert sealed.audit(tsa_root=authority.root)[0] == 3


def test_no_byte_of_the_time_stamp_can_change(stamped: Path, sealed: Evidence, copy_of: Callable[[Path], Path]) -> None:
    bundle = copy_of(stamped)
    file = bundle / "timestamp.tsr"
    token = file.read_bytes()
    for place in range(0, len(token), 97):
        file.write_bytes(token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :])
        assert sealed.audit(bundle)[0] in (1, 2), place
    file.unlink()
    assert sealed.audit(bundle)[0] == 2


@pytest.mark.parametrize("spoil", ["other data", "old answer", "no answer", "garbage"])
def test_wrong_answers_are_refused(
    authority: Authority, address: Callable[[Callable[[bytes], bytes]], str], spoil: str
) -> None:
    stale: list[bytes] = []
    request_timestamp(address(lambda query: stale.append(authority.answer(query)) or stale[0]), b"data")

    def other(query: bytes) -> bytes:
        digest = query.index(b"\x04\x20") + 2  # the octet string with the SHA-256
        return authority.answer(query[:digest] + bytes(32) + query[digest + 32 :])

    spoiled = {
        "other data": other,
        "old answer": lambda _: stale[0],  # right digest, but of another question
        "no answer": lambda _: b"",
        "garbage": lambda query: query,
    }
    with pytest.raises(ForgetctlError, match="time stamp"):
        request_timestamp(address(spoiled[spoil]), b"data")


def test_servers_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="http"):
        request_timestamp("file:///etc/passwd", b"data")
    with pytest.raises(ForgetctlError, match="no time stamp"):
        request_timestamp("http://127.0.0.1:9/", b"data")
