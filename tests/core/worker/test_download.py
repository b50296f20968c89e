"""A model comes from the hub into the cache with progress in bytes; pickles and code stay behind."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.core.worker import tiny

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_UNWANTED = {"pytorch_model.bin": b"pickle", "modeling.py": b"code", "onnx/model.safetensors": b"another format"}


class Hub(ThreadingHTTPServer):
    """The few addresses of a model hub that a download asks for, over real HTTP."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.files = files
        self.asked: list[str] = []
        self.gated = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


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
        if self.server.gated and "/resolve/" in path:
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"}, body=False)
        elif path.startswith("/api/models/some/tiny/tree/"):
            self._json([self._entry(name, content) for name, content in self.server.files.items()], body=body)
        elif path.startswith("/api/models/some/tiny"):
            names = [{"rfilename": name} for name in self.server.files]
            self._json({"id": "some/tiny", "sha": _COMMIT, "siblings": names}, body=body)
        elif "/resolve/" in path and (name := path.split("/", 5)[5]) in self.server.files:
            content = self.server.files[name]
            about = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": _COMMIT}
            self._answer(200, content, about, body=body)
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"}, body=False)

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}

    def _json(self, value: object, *, body: bool) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body=body)

    def _answer(self, code: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(model: Path) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in model.iterdir()} | _UNWANTED
    server = Hub(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def train(hub: Hub, tmp_path: Path, data: Path, **changes: Any) -> Any:
    """A run of a process of its own: the hub's address is read when its library is imported."""
    changes |= {"training__epochs": 1.0, "samples__count": 0, "evaluation__questions": 0}
    recipe = tiny.make_recipe(Path("some/tiny"), data, **changes)
    run = tiny.make_run(tmp_path, recipe)
    command = [sys.executable, "-P", "-m", "ft_core.worker.train", str(run.path)]
    with run.log_file.open("wb") as log:
        subprocess.run(command, env=environment(hub), stdout=log, stderr=log, timeout=120, check=False)
    return run


def environment(hub: Hub) -> dict[str, str]:
    return dict(os.environ) | {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


def refusal(hub: Hub, source: str) -> list[str]:
    """Cause and remedy of a download that fails."""
    script = """
import sys
from ft_core.worker.download import download
from ft_core.worker.failures import explain
try:
    download(sys.argv[1], None, lambda done, total: None)
except Exception as error:
    print(*explain(error), sep="\\n")
"""
    command = [sys.executable, "-P", "-c", script, source]
    done = subprocess.run(command, env=environment(hub), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_a_hub_id_is_downloaded_trained_and_named_in_the_result(hub: Hub, tmp_path: Path, data: Path) -> None:
    run = train(hub, tmp_path, data)
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()
    progress = [event for event in tiny.events(run, "state") if "downloading" in event["phase"]]
    wanted = sum(len(content) for name, content in hub.files.items() if name not in _UNWANTED)
    assert progress[-1]["unit"] == "bytes"
    assert (progress[-1]["done"], progress[-1]["total"]) == (wanted, wanted)
    assert not any(path.endswith((".bin", ".py")) or "/onnx/" in path for path in hub.asked)
    config = json.loads((run.result / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/tiny"
    assert config["revision"] == _COMMIT
    (result,) = tiny.events(run, "result")
    assert (result["base"], result["revision"]) == ("some/tiny", _COMMIT)


def test_a_download_that_broke_off_goes_on(hub: Hub, tmp_path: Path, data: Path) -> None:
    script = """
import sys
from huggingface_hub import snapshot_download
from pathlib import Path
folder = Path(snapshot_download("some/tiny", allow_patterns=["*.json"]))
(folder.parents[1] / "blobs" / "0123.incomplete").write_bytes(b"half of the weights")
"""
    subprocess.run([sys.executable, "-P", "-c", script], env=environment(hub), timeout=60, check=True)
    run = train(hub, tmp_path, data)
    assert tiny.ended(run)["state"] == "done", run.log_file.read_text()
    assert any("downloading" in event["phase"] for event in tiny.events(run, "state"))


def test_a_model_no_adapter_can_be_trained_on_is_refused_once_it_is_known(hub: Hub, tmp_path: Path, data: Path) -> None:
    config = json.loads(hub.files["config.json"])
    hub.files["config.json"] = json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}).encode()
    run = train(hub, tmp_path, data, data__max_length=512)
    cause = tiny.ended(run)["cause"]
    assert "packed with gptq" in cause
    assert "longer than the model can read" in cause
    assert not any("loading model" in event["phase"] for event in tiny.events(run, "state"))


def test_a_gated_model_is_refused_with_what_to_do(hub: Hub) -> None:
    hub.gated = True
    cause, remedy = refusal(hub, "some/tiny")
    assert "gated" in cause
    assert "licence" in remedy


def test_a_model_the_hub_does_not_know_is_refused_with_what_to_do(hub: Hub) -> None:
    cause, remedy = refusal(hub, "some/other")
    assert "no such model" in cause
    assert "model.source" in remedy


def test_a_hub_that_cannot_be_reached_is_told_as_such(hub: Hub) -> None:
    hub.shutdown()
    hub.server_close()
    cause, remedy = refusal(hub, "some/tiny")
    assert "cannot be reached" in cause
    assert "network" in remedy
