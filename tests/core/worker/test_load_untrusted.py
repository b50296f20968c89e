"""The worker itself looks at a folder before transformers does: what is refused was never read by it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from finetune_core.errors import FtError
from finetune_core.worker.memory.trace import answer
from finetune_core.worker.model import device, load
from finetune_core.worker.rows.tokenizer import load_tokenizer
from tests.core.worker import tiny


class _Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (self._mark,)  # type: ignore[return-value]


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when transformers is asked for anything."""

    def seen(*_: object, **__: object) -> None:
        pytest.fail("transformers saw the folder")

    for kind in (transformers.AutoTokenizer, transformers.AutoModelForCausalLM, transformers.AutoConfig):
        monkeypatch.setattr(kind, "from_pretrained", seen)


def _hostile(folder: Path) -> Path:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"nested": {"trust_remote_code": True}}))
    return folder


@pytest.mark.usefixtures("never")
def test_nothing_of_a_hostile_folder_reaches_transformers(copy: Path, data: Path) -> None:
    folder, recipe = _hostile(copy), tiny.make_recipe(copy, data)
    for ask in (
        lambda: load_tokenizer(folder),
        lambda: load.load_model(folder, recipe, device.choose(recipe)),
    ):
        with pytest.raises(FtError, match="trust_remote_code"):
            ask()
    found = answer({"folder": str(folder)}, lambda *_: pytest.fail("it was traced"))
    assert "trust_remote_code" in found["problem"]["why"]


@pytest.mark.usefixtures("never")
def test_a_pickle_is_refused_by_name_and_never_opened(copy: Path, data: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(mark)))
    recipe = tiny.make_recipe(copy, data)
    with pytest.raises(FtError, match=r"pytorch_model\.bin"):
        load.load_model(copy, recipe, device.choose(recipe))
    assert not mark.exists()
    pickle.loads((copy / "pytorch_model.bin").read_bytes())
    assert mark.exists(), "the bomb is none"


def test_code_beside_a_model_that_transformers_knows_is_not_run(copy: Path, data: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("modeling_mine", "configuration_mine", "tokenization_mine"):
        (copy / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    for name, maps in (
        ("config.json", {"AutoConfig": "configuration_mine.C", "AutoModelForCausalLM": "modeling_mine.M"}),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "tokenization_mine.T"]}),
    ):
        path = copy / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": maps}))
    recipe = tiny.make_recipe(copy, data)
    load_tokenizer(copy)
    load.load_model(copy, recipe, device.choose(recipe))
    assert not mark.exists()
