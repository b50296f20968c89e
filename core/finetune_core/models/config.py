"""What the JSON files of a model say: checked for what must never be loaded, and put into plain shapes."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypedDict

from finetune_core.errors import FtError, Problem, gather, problem
from finetune_core.limits import TEMPLATE_BYTES
from finetune_core.models.json_file import (
    CODE,
    READ_BY_TRANSFORMERS,
    bad_file,
    code_files,
    needs_code,
    read_json,
    refuse_tricks,
)
from finetune_core.models.trust import Consent, code_in, consent_to, name_of, trusted, unpinnable
from finetune_core.text import one_line


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


ADAPTER = "adapter_config.json"
# The files of tokenizers that transformers reads itself.
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_COUNT_LIMIT = 2**40
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
_SENSES = ("vision", "audio", "speech")
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
# Attention dropout of decoders whose configuration classes have one other than 0 (transformers 5.23).
_DROPPED_BY_DEFAULT: Mapping[str, float] = dict.fromkeys(
    ("biogpt", "gpt2", "gpt_bigcode", "gpt_neox_japanese", "openai-gpt", "seed_oss", "xglm"), 0.1
)
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


def check_folder(folder: Path) -> None:
    """Refuse a model folder whose JSON files must not reach transformers. Raises FtError with every such file.

    Only what is there is looked at: that a file is missing is for others to report. Code that comes with the model is
    refused unless its user has consented to exactly this code; what is refused besides, stays so.
    """
    problems: list[Problem] = []
    for name in READ_BY_TRANSFORMERS:
        path = folder / name
        if path.exists():
            gather(problems, partial(_check_file, path))
    gather(problems, partial(_check_template, folder / "chat_template.jinja"))
    if (folder / "config.json").exists() and (folder / ADAPTER).exists():
        problems.append(_adapter_inside(folder))
    if problems:
        raise FtError(problems)


def _check_file(path: Path) -> None:
    values = read_json(path)
    refuse_tricks(values, path)
    if path.name == "config.json":
        check_config(values, path)
    if path.name == "tokenizer_config.json" and not has_tokenizer(path.parent) and (files := code_files(values)):
        _require_consent(path, "no tokenizer lies beside it that transformers itself could read", files)


def _check_template(path: Path) -> None:
    size = path.stat().st_size if path.is_file() else 0
    if size > TEMPLATE_BYTES:
        raise bad_file(path, f"it is larger than {TEMPLATE_BYTES // 1024} KiB, and real ones have less than 30")


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer lies there that transformers reads without code of the folder."""
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _adapter_inside(folder: Path) -> Problem:
    return Problem(
        f"{ADAPTER} lies beside the model",
        one_line(str(folder), 300),
        "transformers would put that adapter onto the model without a word, and what is tuned would be another one",
        "move the adapter's files (adapter_*) to a folder of their own, or merge it into the model first",
    )


def check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse what would run code of a stranger, or reach transformers with names it must not see. Raises FtError."""
    refuse_tricks(config, path)
    kind = config.get("model_type")
    if not kind:
        raise bad_file(path, "it does not say the model_type")
    files = code_files(config)
    known = known_to_transformers(kind)
    if not known and files:
        why = f"transformers itself does not know the type `{kind}`"
        if not _maps_model(config):
            raise needs_code(path, f"{why}, and its code has no model that writes on from a text", files)
        _require_consent(path, why, files)
    elif not known:
        raise problem(
            f"the model type `{kind}` is unknown",
            where=str(path),
            why="the installed transformers has no such architecture",
            remedy="update transformers, or choose another model",
        )
    elif _maps_model(config) and not _writes(kind):
        _require_consent(path, f"transformers itself has no model of the type `{kind}` that writes on", files)
    elif not _writes(kind):
        _refuse_other_senses(config, path)
    _check_counts(config, path)
    _check_generates(config, path)


def _refuse_other_senses(config: dict[str, Any], path: Path) -> None:
    """Refuse a model for pictures or sound that cannot be loaded as a language model alone. Raises FtError."""
    if found := senses(config):
        raise problem(
            f"`{config.get('model_type')}` is a {'- and '.join(found)}-language model, which is out of scope here",
            where=str(path),
            why="tuning here is on rows of text, and transformers loads this type only together with its other parts",
            remedy="choose a language model; of Gemma 3 and 4, Llama 4 and Qwen 3.5 the language part can be tuned",
        )


def _require_consent(path: Path, why: str, files: tuple[str, ...]) -> None:
    """Refuse code that nobody here has looked at, or that consent cannot cover. Raises FtError."""
    folder = path.parent
    elsewhere = unpinnable(folder)
    if elsewhere is not None:
        raise needs_code(path, f"{why}, and {elsewhere}", files)
    if consent_to(folder) is not None:
        return
    name = name_of(folder)
    pinned = "" if name == str(folder.absolute()) else f" --revision {one_line(shlex.quote(folder.name), 40)}"
    command = f"ft-tui trust {one_line(shlex.quote(name), 300)}{pinned}"
    remedy = f"look at its code, and consent if you trust it: {command}"
    earlier = _earlier(folder, name)
    if earlier is not None:
        why = f"{why}, and this code is another than the one you looked at on {one_line(earlier.day, 10)}"
        pin = f"; or set model.revision to {one_line(earlier.commit, 40)}, which had that one" if earlier.commit else ""
        remedy = f"{remedy}{pin}"
    raise needs_code(path, why, files, remedy=remedy, kind=CODE)


def _earlier(folder: Path, name: str) -> Consent | None:
    """The last consent to other code of this model; None where there was none, or no code is here to differ."""
    with suppress(FtError):
        if code_in(folder):
            return next((consent for consent in reversed(trusted()) if consent.name == name), None)
    return None


def _maps_model(config: dict[str, Any]) -> bool:
    found = config.get("auto_map")
    return isinstance(found, dict) and "AutoModelForCausalLM" in found


def _check_counts(config: dict[str, Any], path: Path) -> None:
    """Refuse numbers that no model can have, whatever would be made of them: a width of 0, -3 heads, 1e308."""
    part = text_part(config)
    wrong = [
        f"{key} is {one_line(str(value), 30)}"
        for name, keys in _NAMES.items()
        for key in keys
        if isinstance(value := part.get(key), int | float) and not _is_possible(name, value)
    ]
    if wrong:
        raise bad_file(path, f"{', '.join(wrong[:4])}, which no model has")


def _is_possible(name: str, value: float) -> bool:
    # What a dense model has none of is 0 in many configs, and -1 says of some that there is no limit.
    least = 1 if name in {"hidden", "layers", "vocabulary"} else -1 if name == "context" else 0
    return not isinstance(value, bool) and least <= value < _COUNT_LIMIT and value == int(value)


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


def attention_dropout(config: dict[str, Any]) -> float:
    """The share of attention weights that the architecture drops in training; 0 where config.json has no say in it."""
    part = text_part(config)
    rates = [
        float(value)
        for key, value in part.items()
        if "att" in key and "drop" in key and isinstance(value, int | float) and 0 < value < 1
    ]
    named = any("att" in key and "drop" in key for key in part)
    return max(rates, default=0.0 if named else _DROPPED_BY_DEFAULT.get(str(part.get("model_type")), 0.0))


def senses(config: dict[str, Any]) -> tuple[str, ...]:
    """The parts of a multimodal model beside its language model, by their configs: vision, audio, speech."""
    return tuple(name for name in _SENSES if isinstance(config.get(f"{name}_config"), dict))


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
def _writes(model_type: str) -> bool:
    """Whether the installed transformers has a causal language model for this type; True where that is not known."""
    _, _, rest = _sources("modeling_auto.py").partition("\nMODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
    return not rest or f'"{model_type}"' in rest.partition("\n)")[0]


@cache
def _architectures() -> str:
    return _sources("auto_mappings.py", "configuration_auto.py")


def _sources(*names: str) -> str:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return ""
    files = (Path(spec.origin).parent / "models" / "auto" / name for name in names)
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file())


def _count(value: object) -> int | None:
    """A sensible positive count; a list (one width a layer, as Gemma 3n gives) counts as its largest."""
    if isinstance(value, list):
        return max((n for item in value if not isinstance(item, list) and (n := _count(item))), default=None)
    sensible = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _COUNT_LIMIT
    return value if sensible and isinstance(value, int) else None
