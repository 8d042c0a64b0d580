"""A hub in this process: what `huggingface_hub` and `datasets` ask of the real one, over HTTP, of files in memory."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """Data sets by name, each its files by name; all at one commit, which is also the branch main. asked: the paths."""

    data_sets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers at its url."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Answers,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.file(*match.groups())
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self.info(match[1], match[2])
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", path):
            return self.tree(match[1], match[3] or "")
        return self.answer(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/([^/]+)", path)
        if match is None or match[1] not in self.hub.data_sets:
            return self.answer(404)
        json_ = self.headers.get("Content-Type", "").startswith("application/json")
        names = json.loads(body)["paths"] if json_ else parse_qs(body)["paths"]
        files = self.hub.data_sets[match[1]]
        return self.json([_entry(name, files[name]) for name in names if name in files])

    def info(self, name: str, revision: str | None) -> None:
        if name not in self.hub.data_sets:
            return self.answer(404, **{"X-Error-Code": "RepoNotFound"})
        if revision not in (None, "main", COMMIT):
            return self.answer(404, **{"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": file} for file in self.hub.data_sets[name]]
        return self.json({"id": name, "sha": COMMIT, "private": False, "siblings": siblings})

    def tree(self, name: str, folder: str) -> None:
        inside = f"{folder}/" if folder else ""
        entries: dict[str, Any] = {}
        for file, data in self.hub.data_sets.get(name, {}).items():
            if file.startswith(inside):
                first, _, deeper = file[len(inside) :].partition("/")
                path = inside + first
                entries[path] = {"type": "directory", "path": path, "oid": "0"} if deeper else _entry(path, data)
        return self.json(list(entries.values())) if entries else self.answer(404, **{"X-Error-Code": "EntryNotFound"})

    def file(self, name: str, revision: str, file: str) -> None:
        if name not in self.hub.data_sets:
            return self.answer(404, **{"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self.answer(404, **{"X-Error-Code": "RevisionNotFound"})
        if (data := self.hub.data_sets[name].get(file)) is None:
            return self.answer(404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
            return self.answer(
                206, data[start : end + 1], **headers, **{"Content-Range": f"bytes {start}-{end}/{len(data)}"}
            )
        return self.answer(200, data, **headers)

    def json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
