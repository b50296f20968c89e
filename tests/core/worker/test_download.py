"""A model comes from the hub into the cache with progress in bytes; pickles and code stay behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_core.runs.directory import read_plan
from tests.core.worker import tiny
from tests.core.worker.model_hub import COMMIT, Hub, variables


def train(hub: Hub, tmp_path: Path, data: Path, **changes: Any) -> Any:
    """A run of a process of its own: the hub's address is read when its library is imported."""
    changes |= {"training__epochs": 1.0, "samples__count": 0, "evaluation__questions": 0}
    recipe = tiny.make_recipe(Path("some/tiny"), data, **changes)
    run = tiny.make_run(tmp_path, recipe)
    command = [sys.executable, "-P", "-m", "finetune_core.worker.train", str(run.path)]
    with run.log_file.open("wb") as log:
        subprocess.run(command, env=environment(hub), stdout=log, stderr=log, timeout=120, check=False)
    return run


def environment(hub: Hub) -> dict[str, str]:
    return dict(os.environ) | variables(hub)


def refusal(hub: Hub, source: str) -> list[str]:
    """Cause and remedy of a download that fails."""
    script = """
import sys
from finetune_core.worker.hub.download import download
from finetune_core.worker.failures import explain
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
    wanted = len(hub.files["model.safetensors"])
    assert progress[-1]["unit"] == "bytes"
    assert (progress[-1]["done"], progress[-1]["total"]) == (wanted, wanted)
    assert not any(path.endswith((".bin", ".py")) or "/onnx/" in path for path in hub.asked)
    config = json.loads((run.result / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/tiny"
    assert config["revision"] == COMMIT
    (result,) = tiny.events(run, "result")
    assert (result["base"], result["revision"]) == ("some/tiny", COMMIT)
    assert tiny.events(run, "plan")[0]["model_commit"] == read_plan(run)["model_commit"] == COMMIT


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


def weights_that_came(hub: Hub) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in hub.got if path.endswith(".safetensors"))


def test_of_the_weights_only_those_come_that_the_index_names(hub: Hub) -> None:
    """Some repositories hold the same weights a second time, for another program."""
    content = hub.files.pop("model.safetensors")
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00001.safetensors"}}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.files |= {"model-00001-of-00001.safetensors": content, "consolidated.safetensors": content}
    assert refusal(hub, "some/tiny") == []
    assert weights_that_came(hub) == ["model-00001-of-00001.safetensors"]


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("pytorch_model.bin", "pickles only (pytorch_model.bin)", "safetensors version"),
        ("model.Q4_K_M.gguf", "GGUF form", "original model"),
        ("consolidated.safetensors", "no model in the form of transformers", "converted to that form"),
    ],
)
def test_weights_in_another_form_are_named_and_not_downloaded(hub: Hub, name: str, cause: str, remedy: str) -> None:
    content = hub.files.pop("model.safetensors")
    hub.files = {other: text for other, text in hub.files.items() if "/" not in other and not other.endswith(".bin")}
    hub.files[name] = content
    said = refusal(hub, "some/tiny")
    assert cause in said[0]
    assert remedy in said[1]
    assert not any(path.endswith(name) for path in hub.got)


def test_a_model_no_adapter_can_be_trained_on_is_refused_before_its_weights_come(
    hub: Hub, tmp_path: Path, data: Path
) -> None:
    config = json.loads(hub.files["config.json"])
    hub.files["config.json"] = json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}).encode()
    run = train(hub, tmp_path, data, data__max_length=512)
    cause = tiny.ended(run)["cause"]
    assert "packed with gptq" in cause
    assert "longer than the model can read" in cause
    assert weights_that_came(hub) == []
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
