"""What a model folder asks for is looked at before transformers sees it: code, pickles, kernels, pipes, bombs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.limits import JSON_BYTES, TEMPLATE_BYTES
from finetune_core.models.config import check_folder
from finetune_core.models.inspect import inspect_folder
from finetune_core.models.json_file import code_files
from tests.core.models.folders import model_folder, safetensors

_MINE = {
    "AutoConfig": "configuration_mine.MineConfig",
    "AutoModelForCausalLM": "some/other--modeling_mine.MineForCausalLM",
}


def refused(folder: Path) -> str:
    """All that is said of a folder that is refused, by the check and by the list of models alike."""
    with pytest.raises(FtError) as caught:
        check_folder(folder)
    found = inspect_folder(folder, source="m", kind="folder").problem
    assert found in caught.value.problems
    return str(caught.value)


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tokenizer_config.json", {"x": [{"trust_remote_code": True}]}, "sets trust_remote_code"),
        ("generation_config.json", {"trust_remote_code": 1}, "sets trust_remote_code"),
        ("generation_config.json", {"model_type": "../x"}, "no name of a model type"),
        ("special_tokens_map.json", {"a": {"trust_remote_code": "yes"}}, "sets trust_remote_code"),
        ("tokenizer_config.json", {"tokenizer_class": "AutoModelForCausalLM"}, "no name of a tokenizer"),
        ("tokenizer_config.json", {"tokenizer_class": "AutoTokenizer"}, "no name of a tokenizer"),
        ("tokenizer_config.json", {"tokenizer_class": "os.Tokenizer"}, "no name of a tokenizer"),
        ("tokenizer_config.json", {"tokenizer_class": ["LlamaTokenizer"]}, "no name of a tokenizer"),
        ("tokenizer_config.json", [], "not a JSON object"),
    ],
)
def test_each_file_that_transformers_reads_is_looked_at(tmp_path: Path, name: str, value: object, words: str) -> None:
    write(model_folder(tmp_path) / name, value)
    said = refused(tmp_path)
    assert words in said
    assert name in said


@pytest.mark.parametrize("name", ["LlamaTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", None])
def test_the_names_tokenizers_really_have_are_taken(tmp_path: Path, name: str | None) -> None:
    write(model_folder(tmp_path) / "tokenizer_config.json", {"tokenizer_class": name, "chat_template": "x"})
    check_folder(tmp_path)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation_internal", "experts_implementation"])
@pytest.mark.parametrize("value", ["evil/kernel", {"text_config": "evil/kernel@main:x"}])
def test_a_kernel_of_the_hub_is_refused_and_a_built_in_one_is_not(tmp_path: Path, key: str, value: object) -> None:
    assert "compiled code on the hub" in refused(model_folder(tmp_path, config={"text": {key: value}}))
    check_folder(model_folder(tmp_path, config={key: "flash_attention_2"}))


def test_a_model_of_an_unknown_type_is_refused_with_the_names_of_its_code(tmp_path: Path) -> None:
    said = refused(model_folder(tmp_path, config={"model_type": "mine", "auto_map": _MINE}))
    assert "configuration_mine.py" in said
    assert "modeling_mine.py of some/other" in said
    assert "never run" in said


def test_a_known_type_that_cannot_write_without_code_is_refused_with_it(tmp_path: Path) -> None:
    config: dict[str, Any] = {"model_type": "siglip", "architectures": ["MineForCausalLM"], "auto_map": _MINE}
    assert "modeling_mine.py" in refused(model_folder(tmp_path, config=config))


def test_a_tokenizer_that_is_nothing_but_code_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    write(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization_mine.Mine", None]}})
    check_folder(folder)
    (folder / "tokenizer.json").rename(folder / "mine.tiktoken")
    assert "tokenization_mine.py" in refused(folder)


def test_every_form_of_an_auto_map_is_read() -> None:
    values = {"auto_map": ["a.B", None], "inner": [{"auto_map": {"X": "o/r--c.D", "Y": ["e.F", "a.B"], "Z": 3}}]}
    assert set(code_files(values)) == {"a.py", "c.py of o/r", "e.py"}


def test_an_adapter_beside_a_model_is_not_put_onto_it_in_silence(tmp_path: Path) -> None:
    write(model_folder(tmp_path) / "adapter_config.json", {"base_model_name_or_path": "x", "peft_type": "LORA"})
    assert "adapter_config.json lies beside the model" in refused(tmp_path)


def test_every_bad_file_is_told_at_once(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, config={"model_type": "a;b"})
    write(folder / "generation_config.json", {"trust_remote_code": True})
    with pytest.raises(FtError) as caught:
        check_folder(folder)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    path = model_folder(tmp_path) / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert "no regular file" in refused(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "no regular file" in refused(tmp_path)


def test_a_model_card_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(model_folder(tmp_path) / "README.md")
    assert inspect_folder(tmp_path, source="m", kind="folder").licence is None


def test_files_beyond_all_reason_are_refused_unread(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    os.truncate(folder / "tokenizer_config.json", JSON_BYTES + 1)
    (folder / "chat_template.jinja").write_text("x" * (TEMPLATE_BYTES + 1))
    said = refused(folder)
    assert "larger than 16 MiB" in said
    assert "larger than 256 KiB" in said


def test_a_tensor_of_a_million_dimensions_is_refused_at_once(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    safetensors(folder / "model.safetensors", {"a": ("F32", [1] * 1_000_000)})
    found = inspect_folder(folder, source="m", kind="folder").problem
    assert found is not None
    assert "in no known form" in found.why


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.pkl", "last.ckpt"])
def test_pickles_alone_are_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path)
    (folder / "model.safetensors").rename(folder / name)
    found = inspect_folder(folder, source="m", kind="folder").problem
    assert found is not None
    assert name in found.what
