"""Model folders written byte by byte, so that tests can break them in one place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1, "I8": 1, "I32": 4}
LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}
TENSORS: Mapping[str, tuple[str, list[int]]] = {
    "model.embed_tokens.weight": ("BF16", [256, 64]),
    "model.layers.0.mlp.up_proj.weight": ("BF16", [128, 64]),
    "lm_head.weight": ("BF16", [256, 64]),
}


def safetensors(path: Path, tensors: Mapping[str, tuple[str, list[int]]]) -> None:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * _BYTES[kind]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


def model_folder(
    path: Path,
    *,
    config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, tuple[str, list[int]]] | None = None,
    chat_template: bool = True,
) -> Path:
    """A folder in the Hugging Face form; `config` is laid over a tiny Llama's."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({**LLAMA, **(config or {})}))
    (path / "tokenizer.json").write_text("{}")
    template = {"chat_template": "{{ messages }}"} if chat_template else {}
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", **template}))
    safetensors(path / "model.safetensors", TENSORS if tensors is None else tensors)
    return path


def cached_model(cache: Path, name: str, commit: str = "abc123", branch: str | None = "main", **parts: Any) -> Path:
    """A model in the layout of the Hugging Face cache; its snapshot."""
    repository = cache / f"models--{name.replace('/', '--')}"
    if branch is not None:
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / branch).write_text(commit)
    return model_folder(repository / "snapshots" / commit, **parts)
