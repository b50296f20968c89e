from __future__ import annotations

from pathlib import Path

import pytest

from finetune_core.recipe.schema import Data
from finetune_tui.wizard.disk_watch import data_stamp, model_stamp


def test_a_stamp_changes_with_any_file_of_a_folder_and_with_every_file_of_rows(tmp_path: Path) -> None:
    (tmp_path / "shards" / "deep").mkdir(parents=True)
    shard, apart = tmp_path / "shards" / "deep" / "a.jsonl", tmp_path / "apart.jsonl"
    shard.write_text("{}")
    data = Data(source=str(tmp_path / "shards"), held_out=str(apart))
    seen = [data_stamp(data)]
    apart.write_text("{}")
    seen.append(data_stamp(data))
    shard.write_text("{} ")
    seen.append(data_stamp(data))
    (tmp_path / "shards" / "b.jsonl").write_text("{}")
    seen.append(data_stamp(data))
    assert len(set(seen)) == 4
    assert data_stamp(data) == seen[-1]


@pytest.mark.parametrize("source", ["~nobody-of-this-name/x", "hub:a/b", "none.jsonl", "org/model", "demo"])
def test_what_names_no_file_has_an_empty_stamp_and_never_fails(source: str, tmp_path: Path) -> None:
    del tmp_path
    assert model_stamp(source) == ()
    assert isinstance(data_stamp(Data(source=source)), tuple)
