"""A data set of the hub comes as its files, through real HTTP, and every failure is told in words."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.files.hub import HubSource, fetch, is_stored, read_source
from finetune_core.data.files.open import open_rows
from finetune_core.errors import FtError
from tests.core.worker.faults import Fault, answering, cutting

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_CARD = b"""---
configs:
- config_name: plain
  data_files:
  - split: train
    path: data/*.jsonl
  - split: test
    path: held.jsonl
- config_name: table
  data_files: cells.csv
---
# About
"""
_FILES = {
    "README.md": _CARD,
    "data/one.jsonl": b'{"n": 1}\n{"n": 2}\n',
    "data/two.jsonl": b'{"n": 3}\n',
    "held.jsonl": b'{"n": 4}\n',
    "cells.csv": b"id,text\n00000,a\n",
    "loader.py": b"raise SystemExit('code was run')",
}


class Hub(ThreadingHTTPServer):
    """The few addresses of a hub that fetching a data set asks for."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.files = files
        self.asked: list[str] = []
        self.gated = False
        self.fault: Fault | None = None


class _Pages(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "/paths-info/" not in self.path:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"}, body=False)
            return
        wanted = json.loads(asked)["paths"] if asked.startswith("{") else _form(asked)
        self._json([entry for path in wanted for entry in self._entries("") if entry["path"] == path], body=True)

    def _serve(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        if self.server.fault is not None and self.server.fault(self, path):
            return
        if self.server.gated and ("/resolve/" in path or "/tree/" in path):
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"}, body=False)
        elif path.startswith("/api/datasets/some/rows/tree/"):
            inside = path.split("/tree/", 1)[1].partition("/")[2]
            entries = self._entries(inside)
            self._json(entries, body=body) if entries else self._answer(
                404, b"", {"X-Error-Code": "EntryNotFound"}, body=False
            )
        elif path.startswith("/api/datasets/some/rows"):
            names = [{"rfilename": name} for name in self.server.files]
            about = {"id": "some/rows", "sha": _COMMIT, "siblings": names, "gated": False, "private": False, "tags": []}
            self._json(about | {"downloads": 0, "likes": 0, "lastModified": "2024-01-01T00:00:00.000Z"}, body=body)
        elif path.startswith("/datasets/some/rows/resolve/") and (name := path.split("/", 6)[6]) in self.server.files:
            content = self.server.files[name]
            self._answer(200, content, {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": _COMMIT}, body=body)
        elif path.startswith("/datasets/some/rows/resolve/"):
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _COMMIT}, body=False)
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"}, body=False)

    def _entries(self, inside: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}
            for name, content in self.server.files.items()
            if name.startswith(f"{inside}/" if inside else "")
        ] + ([{"type": "directory", "path": "data", "oid": "0" * 40, "size": 0}] if not inside else [])

    def _json(self, value: object, *, body: bool) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body=body)

    def _answer(self, code: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _form(text: str) -> list[str]:
    from urllib.parse import parse_qs

    return parse_qs(text)["paths"]


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(dict(_FILES))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield server
    server.shutdown()
    server.server_close()


def test_the_files_of_a_split_come_as_they_are_and_are_opened_as_one(hub: Hub) -> None:
    told: list[tuple[int, int]] = []
    source = "hub:some/rows#plain"
    assert not is_stored(source)
    with pytest.raises(FtError, match="not been fetched"):
        open_rows(source)
    fetch(source, lambda done, total: told.append((done, total)))
    assert [row.value for row in open_rows(source).rows()] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert told[-1] == (27, 27)
    assert not any(path.endswith(("loader.py", "held.jsonl")) for path in hub.asked if "/resolve/" in path)
    asked = len(hub.asked)
    fetch(source)
    assert len(hub.asked) == asked
    fetch("hub:some/rows#table/train")
    assert [row.value for row in open_rows("hub:some/rows#table/train").rows()] == [{"id": "00000", "text": "a"}]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hub:some/rows", "several configs(.|\n)*plain, table"),
        ("hub:some/rows#other", "no config `other`(.|\n)*plain, table"),
        ("hub:some/rows#plain/dev", "no split `dev`(.|\n)*train, test"),
        ("hub:some/unknown", "knows no such data set"),
    ],
)
def test_what_the_hub_does_not_have_is_told_with_what_it_has(hub: Hub, source: str, words: str) -> None:
    with pytest.raises(FtError, match=words):
        fetch(source)
    assert not is_stored(source)


def test_a_gated_data_set_is_told_as_such(hub: Hub) -> None:
    hub.gated = True
    with pytest.raises(FtError, match=r"gated(.|\n)*licence"):
        fetch("hub:some/rows#plain")


def test_a_hub_that_cannot_or_may_not_be_asked_is_told_as_such(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(FtError, match="cannot be reached"):
        fetch("hub:some/rows#plain")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FtError, match="HF_HUB_OFFLINE is set"):
        fetch("hub:some/rows#plain")


_ROWS = "/resolve/" + _COMMIT + "/data/one.jsonl"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answering(429, at=_ROWS, Retry_After="900"), r"too often(.|\n)*wait 15 min 00 s"),
        (answering(401, at="/api/", X_Error_Message="Invalid credentials in Authorization header"), "token"),
        (answering(404, at=_ROWS, X_Error_Code="EntryNotFound"), "gone from the hub"),
    ],
)
def test_what_a_hub_refuses_is_told_by_its_cause(hub: Hub, fault: Fault, words: str) -> None:
    hub.fault = fault
    with pytest.raises(FtError, match=words):
        fetch("hub:some/rows#plain")
    assert not is_stored("hub:some/rows#plain")


def test_a_file_of_rows_that_broke_off_is_gone_on_with(hub: Hub) -> None:
    content = hub.files["data/one.jsonl"]
    hub.fault = cutting(_ROWS, content, f'"{_blob(content)}"', times=1, reset=False)
    fetch("hub:some/rows#plain")
    assert [row.value for row in open_rows("hub:some/rows#plain").rows()] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_rows_that_are_not_those_of_the_hub_are_not_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hub.files["data/one.jsonl"]
    other = whole.replace(b"1", b"7")
    real = _Pages._answer
    monkeypatch.setattr(
        _Pages,
        "_answer",
        lambda page, code, content, about, *, body: real(
            page, code, other if content == whole else content, about, body=body
        ),
    )
    with pytest.raises(FtError, match="not the one the hub has"):
        fetch("hub:some/rows#plain")
    assert not is_stored("hub:some/rows#plain")


def test_rows_inside_an_object_are_taken_out_where_the_data_set_says_so(hub: Hub) -> None:
    hub.files["README.md"] = b"---\nconfigs:\n- config_name: default\n  data_files: all.json\n  field: rows\n---\n"
    hub.files["all.json"] = b'{"about": "x", "rows": [{"n": 1}, {"n": 2}]}'
    fetch("hub:some/rows")
    file = open_rows("hub:some/rows")
    assert file.container.kind == "parquet"
    assert [row.value for row in file.rows()] == [{"n": 1}, {"n": 2}]


def test_a_file_that_is_one_object_is_refused_as_one_from_the_disk_is(hub: Hub) -> None:
    hub.files["README.md"] = b"---\nconfigs:\n- config_name: default\n  data_files: all.json\n---\n"
    hub.files["all.json"] = b'{"about": "x", "rows": [{"n": 1}, {"n": 2}]}'
    with pytest.raises(FtError, match="one JSON object"):
        fetch("hub:some/rows")
    assert not is_stored("hub:some/rows")


def test_the_name_of_a_data_set_is_read_or_refused() -> None:
    assert read_source("hub:a/b#c/d") == HubSource("a/b", "c", "d")
    assert read_source("hub:a/b#/d") == HubSource("a/b", "", "d")
    for bad in ("hub:", "hub:../x", "hub:a/b/c", "hub:a/b#x\x1b[2J", "hub:-a/b"):
        with pytest.raises(FtError, match="no data set of the hub"):
            read_source(bad)


def test_an_id_without_the_prefix_is_told_how_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FtError, match="write hub:some/rows"):
        open_rows("some/rows")
