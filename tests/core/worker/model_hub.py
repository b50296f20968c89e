"""A stand-in for the hub that holds one model, over real HTTP: it keeps what it was asked, and fails as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finetune_core.demo import model_dir
from tests.core.worker.faults import Fault

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNWANTED = {"pytorch_model.bin": b"pickle", "modeling.py": b"code", "onnx/model.safetensors": b"another format"}


class Hub(ThreadingHTTPServer):
    """The few addresses of a model hub that a download asks for, over real HTTP."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.files = files
        self.commit = COMMIT
        self.asked: list[str] = []
        self.gated = False
        self.fault: Fault | None = None
        self.ranges: list[str] = []
        # What is sent in place of a file, under the file's own hash.
        self.spoilt: dict[str, bytes] = {}
        # What the hub says of a file's size, where that is another than it has.
        self.sizes: dict[str, int] = {}
        self.got: list[str] = []
        self.tokens: set[str] = set()
        # The users it knows by their tokens; those named in `accepted` have accepted the licence of a gated model.
        self.users: dict[str, str] = {}
        self.accepted: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub that has these files as some/tiny, among others that are not wanted."""
    server = Hub(files | UNWANTED)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def serving_the_demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the demo's model as some/tiny, and that this process and those it starts may ask."""
    with serving({path.name: path.read_bytes() for path in model_dir().iterdir() if path.is_file()}) as hub:
        for name, value in variables(hub).items():
            monkeypatch.setenv(name, value)
        yield hub


def variables(hub: Hub) -> dict[str, str]:
    """What makes a process ask this hub."""
    return {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


class _Pages(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_POST(self) -> None:
        self._answer(404, b"", {"X-Error-Code": "EntryNotFound"}, body=False)

    def _serve(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        self.server.tokens.add(self.headers.get("Authorization") or "")
        if self.server.fault is not None and self.server.fault(self, path):
            return
        user = self.server.users.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if path == "/api/whoami-v2":
            self._whoami(user, body=body)
        elif self.server.gated and "/resolve/" in path and user not in self.server.accepted:
            known = user is not None or not self.server.users
            self._answer(403 if known else 401, b"", {"X-Error-Code": "GatedRepo"}, body=False)
        elif path.startswith("/api/models/some/tiny/tree/"):
            self._json([self._entry(name, content) for name, content in self.server.files.items()], body=body)
        elif path.startswith("/api/models/some/tiny"):
            names = [self._entry(name, content) | {"rfilename": name} for name, content in self.server.files.items()]
            self._json({"id": "some/tiny", "sha": self.server.commit, "siblings": names}, body=body)
        elif "/resolve/" in path and (name := path.split("/", 5)[5]) in self.server.files:
            content = self.server.files[name]
            if body:
                self.server.got.append(path)
            about = {"ETag": f'"{blob(content)}"', "X-Repo-Commit": self.server.commit}
            if not body and name in self.server.sizes:
                about["Content-Length"] = str(self.server.sizes[name])
            self._file(self.server.spoilt.get(name, content), about, body=body)
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"}, body=False)

    def _whoami(self, user: str | None, *, body: bool) -> None:
        if user is None:
            self._answer(401, b"", {"X-Error-Message": "Invalid credentials"}, body=False)
        else:
            self._json({"name": user, "auth": {"accessToken": {"displayName": "box", "role": "read"}}}, body=body)

    def _file(self, content: bytes, about: dict[str, str], *, body: bool) -> None:
        wanted = self.headers.get("Range")
        if not wanted or not body:
            self._answer(200, content, about, body=body)
            return
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        about |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._answer(206, content[start:], about, body=True)

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": self.server.sizes.get(name, len(content)), "oid": blob(content)}

    def _json(self, value: object, *, body: bool) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body=body)

    def _answer(self, code: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
