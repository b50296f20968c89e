from __future__ import annotations

import json

import pytest

from finetune_core.errors import FtError
from finetune_core.runs.directory import RunDir
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.samples import SampleItem


def test_a_set_of_answers_is_read_from_its_file(run: RunDir) -> None:
    item = {"prompt": "Why?", "reference": None, "base": "Because.", "current": '{"answer": "so"}'}
    (run.samples / "a.json").write_text(json.dumps({"step": 3, "source": "prompts", "items": [item]}))
    found = RunView(run).load_sample({"kind": "sample", "step": 3, "path": "samples/a.json", "count": 1})
    assert (found.step, found.source) == (3, "prompts")
    assert found.items == (SampleItem("Why?", None, "Because.", '{"answer": "so"}'),)


def test_missing_parts_of_an_item_are_empty(run: RunDir) -> None:
    (run.samples / "a.json").write_text('{"items": [{"prompt": 7, "reference": 8}, "no item"]}')
    found = RunView(run).load_sample({"path": "samples/a.json"})
    assert found.items == (SampleItem("7", "8", "", ""),)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"items": 3}', "[" * 20_000, "\xff"])
def test_a_missing_or_damaged_file_is_told(run: RunDir, text: str | None) -> None:
    if text is not None:
        (run.samples / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(FtError, match="cannot be read"):
        RunView(run).load_sample({"path": "samples/a.json"})


@pytest.mark.parametrize("path", ["../../secret.json", "/etc/passwd", "samples/link.json"])
def test_an_event_cannot_point_out_of_the_run(run: RunDir, path: str) -> None:
    (run.path.parent.parent / "secret.json").write_text('{"items": []}')
    (run.samples / "link.json").symlink_to(run.path.parent.parent / "secret.json")
    with pytest.raises(FtError, match="outside the run"):
        RunView(run).load_sample({"path": path})
