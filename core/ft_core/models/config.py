"""config.json of a model: read with caps, checked for what must never be loaded, and put into plain shapes."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from ft_core.errors import FtError, problem
from ft_core.text import one_line


class Shapes(TypedDict):
    """Shapes of the language part under this program's names; None where the config does not say."""

    hidden: int | None
    intermediate: int | None
    layers: int | None
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    vocabulary: int | None
    context: int | None
    experts: int | None
    experts_per_token: int | None
    expert_width: int | None
    shared_width: int | None


JSON_LIMIT = 16 * 2**20
_DEPTH_LIMIT = 32
_COUNT_LIMIT = 2**40
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "n_kv_heads"),
    "head_dim": ("head_dim",),
    "vocabulary": ("vocab_size",),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts"),
    "expert_width": ("moe_intermediate_size",),
    "shared_width": ("shared_expert_intermediate_size",),
    "context": ("max_position_embeddings", "n_positions", "n_ctx", "seq_length"),
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file a stranger may have written. Raises FtError when it is missing or none."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise _bad(path, f"it is larger than {JSON_LIMIT // 2**20} MiB")
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise problem(
            f"there is no {path.name}",
            where=one_line(str(path.parent), 300),
            why="a model folder holds one, and nothing else says what the model is",
            remedy="choose a folder in the Hugging Face form (config.json, *.safetensors, tokenizer), or a model id",
        ) from error
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"it is not JSON ({one_line(str(error), 100)})") from error
    if not isinstance(value, dict):
        raise _bad(path, "it is not a JSON object")
    return value


def check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse what would run code of a stranger, or reach transformers with names it must not see. Raises FtError."""
    for key, value, depth in _entries(config):
        if depth > _DEPTH_LIMIT:
            raise _bad(path, f"it is nested deeper than {_DEPTH_LIMIT} levels")
        if key == "model_type" and not (isinstance(value, str) and (value == "" or _MODEL_TYPE.fullmatch(value))):
            raise _bad(path, f"`model_type: {one_line(str(value), 60)}` is no name of a model type")
        if key == "trust_remote_code" and value:
            raise _needs_code(path, "it sets trust_remote_code")
    kind = config.get("model_type")
    if not kind:
        raise _bad(path, "it does not say the model_type")
    if not known_to_transformers(kind):
        if any(key == "auto_map" and value for key, value, _ in _entries(config)):
            raise _needs_code(path, f"transformers itself does not know the type `{kind}`")
        raise problem(
            f"the model type `{kind}` is unknown",
            where=str(path),
            why="the installed transformers has no such architecture",
            remedy="update transformers, or choose another model",
        )
    _check_generates(config, path)


def _check_generates(config: dict[str, Any], path: Path) -> None:
    names = config.get("architectures")
    architectures = [str(name) for name in names] if isinstance(names, list) else []
    wrong_head = bool(architectures) and not any(name.endswith(_GENERATES) for name in architectures)
    if wrong_head or config.get("is_encoder_decoder") is True:
        shown = one_line(", ".join(architectures) or str(config.get("model_type")), 80)
        raise problem(
            f"{shown} is not a model that writes on from a text",
            where=str(path),
            why="tuning here is for decoder-only language models",
            remedy="choose a causal language model, such as one of the Llama, Qwen, Mistral or Gemma families",
        )


def shapes(config: dict[str, Any]) -> Shapes:
    """The shapes of the language part, with what its architecture leaves out when it is the default."""
    part = text_part(config)
    found = {name: next((n for key in keys if (n := _count(part.get(key)))), None) for name, keys in _NAMES.items()}
    hidden, heads = found["hidden"], found["heads"]
    intermediate = found["intermediate"] or (4 * hidden if hidden else None)
    experts, met, width = found["experts"], found["experts_per_token"], found["expert_width"]
    mixture = bool(experts and met)
    if mixture:
        # Where experts have no width of their own, the one MLP width that is given is theirs.
        width = width or intermediate
        # What one token meets: the experts it is sent to, side by side, and the shared one.
        intermediate = met * width + (found["shared_width"] or 0) if met and width else intermediate
    return Shapes(
        hidden=hidden,
        intermediate=intermediate,
        layers=found["layers"],
        heads=heads,
        kv_heads=found["kv_heads"] or heads,
        head_dim=found["head_dim"] or (hidden // heads if hidden and heads else None),
        vocabulary=found["vocabulary"],
        context=found["context"],
        experts=experts if mixture else None,
        experts_per_token=met if mixture else None,
        expert_width=width if mixture else None,
        shared_width=found["shared_width"] if mixture else None,
    )


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    """The config of the language model inside a multimodal one (Gemma 3, Llama 4 ...), else the config itself."""
    for _ in range(3):
        if any(_count(config.get(key)) for key in _NAMES["hidden"]):
            return config
        inner = next((part for name in _TEXT_PARTS if isinstance(part := config.get(name), dict)), None)
        if inner is None:
            return config
        config = inner
    return config


def text_value(config: dict[str, Any], *names: str) -> str | None:
    """The first of these keys that holds text, in the config or in its language part."""
    for part in (config, text_part(config)):
        for name in names:
            if isinstance(value := part.get(name), str) and value:
                return one_line(value, 64)
    return None


@cache
def known_to_transformers(model_type: str) -> bool:
    """Whether the installed transformers has this architecture, read from its source without importing it."""
    return not _architectures() or f'"{model_type}"' in _architectures()


@cache
def _architectures() -> str:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return ""
    folder = Path(spec.origin).parent / "models" / "auto"
    files = (folder / "auto_mappings.py", folder / "configuration_auto.py")
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file())


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Every key at any depth with its value; without recursion, since the depth is the stranger's to choose."""
    waiting: list[tuple[Any, int]] = [(config, 1)]
    while waiting:
        value, depth = waiting.pop()
        inner = value.items() if isinstance(value, dict) else (("", item) for item in value)
        for key, item in inner:
            yield key, item, depth
            if isinstance(item, dict | list):
                waiting.append((item, depth + 1))


def _count(value: object) -> int | None:
    """A sensible positive count; a list (one width a layer, as Gemma 3n gives) counts as its largest."""
    if isinstance(value, list):
        return max((n for item in value if (n := _count(item))), default=None)
    sensible = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _COUNT_LIMIT
    return value if sensible and isinstance(value, int) else None


def _bad(path: Path, why: str) -> FtError:
    return problem(
        f"{path.name} cannot be used",
        where=one_line(str(path), 300),
        why=why,
        remedy="get the folder again from where it came from, or choose another model",
    )


def _needs_code(path: Path, why: str) -> FtError:
    return problem(
        "the model needs Python code from its own folder",
        where=one_line(str(path), 300),
        why=f"{why}; code that comes with weights is never run",
        remedy="choose a model whose architecture is part of transformers",
    )
