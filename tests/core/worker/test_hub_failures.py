"""Whatever the hub does wrong, over real HTTP: the cause by name, what to do, and nothing lost that came whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_core.models.find import hub_cache
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import read_plan
from finetune_core.worker.controls import Controls
from finetune_core.worker.rows.inputs import find_base
from tests.core.worker import tiny
from tests.core.worker.faults import Fault, answering, cutting
from tests.core.worker.model_hub import COMMIT, Hub, blob
from tests.core.worker.test_download import environment

# A process of its own, as the hub's address is read at import; it does not sleep between the library's tries.
_SCRIPT = """
import errno, os, sys, time
time.sleep = lambda seconds: None
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000
from finetune_core.models.find import find
from finetune_core.worker.hub import download as module
from finetune_core.worker.failures import explain
if "full" in sys.argv:
    import huggingface_hub.file_download as library
    def http_get(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    library.http_get = http_get
if "small" in sys.argv:
    module.shutil.disk_usage = lambda _: type("Usage", (), {"free": 1000})
try:
    folder = module.download("some/tiny", None, lambda done, total: None)
    print("fine", folder, find("some/tiny").problem, sep="\\n")
except Exception as error:
    print(*explain(error), find("some/tiny").kind, sep="\\n")
"""
_WEIGHTS = "model.safetensors"
_FILE = f"/resolve/{COMMIT}/{_WEIGHTS}"


def fetch(hub: Hub, *words: str, **variables: str) -> list[str]:
    """Cause, remedy, and where the model is afterwards; or `fine`, its folder, and its problem."""
    command = [sys.executable, "-P", "-c", _SCRIPT, *words]
    done = subprocess.run(
        command, env=environment(hub) | variables, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


def cut(hub: Hub, *, times: int, reset: bool) -> Fault:
    content = hub.files[_WEIGHTS]
    return cutting(_FILE, content, f'"{blob(content)}"', times=times, reset=reset)


@pytest.mark.parametrize(
    ("fault", "cause", "remedy"),
    [
        (
            answering(401, X_Error_Message="Invalid credentials in Authorization header"),
            "does not accept the token (401)",
            "revoked",
        ),
        (answering(403, at=_FILE), "forbids this model (403)", "may not read it"),
        (answering(403, at="/resolve/", X_Error_Code="GatedRepo"), "it is gated (403)", "licence"),
        (answering(404, at="/api/", X_Error_Code="RevisionNotFound"), "no such revision (404)", "model.revision"),
        (answering(404, at=_FILE, X_Error_Code="EntryNotFound"), f"gone from the hub (404): {_WEIGHTS}", "again"),
        (answering(429, at=_FILE, Retry_After="5400"), "it asks to wait 1 h 30 min", "wait 1 h 30 min"),
        (answering(429, at="/api/", RateLimit='"api";r=0;t=300'), "it asks to wait 5 min 00 s", "HF_TOKEN"),
        (answering(429, at=_FILE, Retry_After="7"), "it asks to wait 7 s", "start again"),
        (answering(500, at="/api/"), "fails at present (500)", "some minutes"),
    ],
)
def test_what_the_hub_answers_is_told_by_its_cause(hub: Hub, fault: Fault, cause: str, remedy: str) -> None:
    hub.fault = fault
    said = fetch(hub)
    assert cause in said[0]
    assert remedy in said[1]
    # The next try goes to the hub again, where half a model would be refused for what is missing.
    assert said[2] == "hub"


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "short"])
def test_a_file_that_breaks_off_is_gone_on_with_where_it_stopped(hub: Hub, reset: bool) -> None:
    hub.fault = cut(hub, times=2, reset=reset)
    assert fetch(hub)[0] == "fine"
    assert len(hub.ranges) == 1
    assert int(hub.ranges[0].removeprefix("bytes=").rstrip("-")) > 0


def test_a_connection_that_always_breaks_off_is_told_and_what_came_whole_is_not_asked_again(hub: Hub) -> None:
    hub.fault = cut(hub, times=-1, reset=False)
    said = fetch(hub)
    assert "broke off" in said[0]
    assert "files that came whole are kept" in said[1]
    assert said[2] == "hub"
    hub.fault, hub.got = None, []
    assert fetch(hub)[::2] == ["fine", "None"]
    assert [path.rpartition("/")[2] for path in hub.got] == [_WEIGHTS]


def test_a_file_with_another_content_than_the_hub_s_is_removed_and_fetched_again(hub: Hub) -> None:
    hub.spoilt = {_WEIGHTS: bytes(len(hub.files[_WEIGHTS]))}
    said = fetch(hub)
    assert f"{_WEIGHTS}: a file that was downloaded is not the one the hub has" in said[0]
    assert "it was removed" in said[1]
    hub.spoilt = {}
    assert fetch(hub)[::2] == ["fine", "None"]


@pytest.mark.parametrize("word", ["full", "small"])
def test_a_disk_without_room_is_told_with_the_place_and_what_moves_it(hub: Hub, tmp_path: Path, word: str) -> None:
    said = fetch(hub, word)
    assert "the disk has no room for some/tiny" in said[0]
    assert str(tmp_path) in said[0]
    assert "HF_HUB_CACHE" in said[1]
    assert ("still to come" in said[0]) == (word == "small")


def test_a_hub_that_may_not_be_asked_is_told_with_the_variable(hub: Hub) -> None:
    said = fetch(hub, HF_HUB_OFFLINE="1")
    assert "may not be asked" in said[0]
    assert "unset HF_HUB_OFFLINE" in said[1]
    assert hub.asked == []


def test_a_run_that_goes_on_takes_the_commit_it_began_with(tmp_path: Path, model: Path, data: Path) -> None:
    commits = ("a" * 40, "b" * 40)
    repository = hub_cache() / "models--some--tiny"
    for commit in commits:
        shutil.copytree(model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    run = tiny.make_run(tmp_path, tiny.make_recipe(Path("some/tiny"), data))
    recipe = load(run.recipe_file)
    found = []
    for commit in commits:
        (repository / "refs" / "main").write_text(commit)
        found.append(find_base(recipe, Controls.__new__(Controls), run).revision)
    assert found == [commits[0]] * 2
    assert read_plan(run)["model_commit"] == commits[0]
    fresh = tiny.make_run(tmp_path, recipe)
    assert find_base(recipe, Controls.__new__(Controls), fresh).revision == commits[1]
