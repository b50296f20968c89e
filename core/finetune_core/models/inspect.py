"""What a model folder holds, read from config.json and safetensors headers: milliseconds, no torch, no surprises."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_core.errors import FtError, Problem
from finetune_core.models.catalogue import figures_like
from finetune_core.models.config import (
    ADAPTER,
    attention_dropout,
    check_folder,
    has_tokenizer,
    senses,
    shapes,
    text_part,
    text_value,
)
from finetune_core.models.facts import ModelFacts
from finetune_core.models.json_file import MISSING, read_json
from finetune_core.models.layer_costs import kept_figures
from finetune_core.models.weights import announced_weights, read_weights
from finetune_core.text import one_line

__all__ = ["ModelFacts", "inspect_folder"]

_README_LIMIT = 64 * 1024
# Architectures whose layers have the same names in files and in memory. Others are renamed, fused or split when they
# are loaded (transformers' conversion_mapping), and which of them are differs from version to version.
_NAMED_AS_STORED = frozenset(
    "apertus arcee bloom codegen cohere cohere2 ernie4_5 exaone4 falcon gemma gemma2 gemma3_text glm glm4 gpt2 gpt_neo"  # noqa: SIM905
    " gptj granite helium llama ministral mistral mpt nemotron olmo olmo2 olmo3 opt phi phi3 qwen2 qwen3 seed_oss"
    " smollm3 stablelm starcoder2".split()
)
# Architectures whose input embeddings are their head unless the config says otherwise (their configuration classes in
# transformers 5.23).
TIED_BY_DEFAULT = frozenset(
    "bloom cohere cohere2 cohere2_moe ernie4_5 ernie4_5_moe falcon falcon_mamba gemma gemma2 gemma3 gemma3_text"  # noqa: SIM905
    " gemma3n gemma3n_text gemma4 gemma4_text gemma4_unified gemma4_unified_text gpt2 gpt_bigcode gpt_neo granite_swa"
    " jetmoe lfm2 lfm2_moe lfm3 mamba minicpm3 mpt opt recurrent_gemma smollm3 starcoder2 vaultgemma youtu zamba zamba2"
    " zaya".split()
)
_FRONT_MATTER = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)


def inspect_folder(path: Path, *, source: str, kind: str, revision: str | None = None) -> ModelFacts:
    """Facts of the model in `path`. A folder that cannot be tuned gives facts with a `problem`; never raises.

    Of kind `hub` it holds what describes the model, and its weights are still to come.
    """
    facts = ModelFacts(source=source, kind=kind, path=path, revision=revision)
    try:
        _refuse_adapter(path)
        config = read_json(path / "config.json")
        facts = _with_config(facts, config, path)
        check_folder(path)
        facts = _announced(facts, path) if kind == "hub" else _with_weights(facts, config, path)
        facts = replace(facts, figures=figures_like(facts) or kept_figures(path))
        _require_tokenizer(path)
    except FtError as error:
        return replace(facts, problem=error.problems[0])
    except OSError as error:
        words = one_line(error.strerror or str(error), 100)
        return replace(facts, problem=Problem("the folder cannot be read", str(path), words, "check its permissions"))
    return facts


def _with_config(facts: ModelFacts, config: dict[str, Any], path: Path) -> ModelFacts:
    names = config.get("architectures")
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    tied = config.get("tie_word_embeddings", text_part(config).get("tie_word_embeddings"))
    kind = config.get("model_type")
    return replace(
        facts,
        architecture=one_line(str(names[0]), 80) if isinstance(names, list) and names else None,
        model_type=one_line(kind, 64) if isinstance(kind, str) and kind else None,
        tied=str(kind) in TIED_BY_DEFAULT if tied is None else tied is True,
        dtype=text_value(config, "dtype", "torch_dtype"),
        licence=read_licence(path),
        has_chat_template=_has_chat_template(path),
        names_end=_names_end(path),
        quantized=one_line(str(method or "unknown"), 40) if isinstance(quantization, dict) else None,
        senses=senses(config),
        attention_dropout=attention_dropout(config),
        **shapes(config),
    )


def _with_weights(facts: ModelFacts, config: dict[str, Any], path: Path) -> ModelFacts:
    weights = read_weights(path, _packed_bits(config.get("quantization_config")))
    return replace(
        facts,
        parameters=weights.parameters,
        size_bytes=weights.size_bytes,
        dtype=facts.dtype or weights.dtype,
        # What is stored decides: a config may leave the key out when it equals the architecture's default.
        tied=not weights.has_head,
        modules=weights.modules if facts.model_type in _NAMED_AS_STORED else frozenset(),
    )


def _announced(facts: ModelFacts, path: Path) -> ModelFacts:
    announced = announced_weights(path)
    if announced is None:
        return facts
    return replace(facts, parameters=announced.parameters, size_bytes=announced.size_bytes, tied=not announced.has_head)


def _packed_bits(quantization: object) -> int:
    if isinstance(quantization, dict):
        groups = quantization.get("config_groups")
        group = next(iter(groups.values()), None) if isinstance(groups, dict) else None
        inner = group.get("weights") if isinstance(group, dict) else None
        for part, key in ((quantization, "bits"), (inner, "num_bits")):
            bits = part.get(key) if isinstance(part, dict) else None
            if isinstance(bits, int) and bits in {2, 3, 4, 8}:
                return bits
    return 4


def read_licence(path: Path) -> str | None:
    """The licence in the front matter of README.md: `license`, or `license_name` where that says `other`."""
    card = path / "README.md"
    text = ""
    # A pipe of that name would be waited for without end.
    if card.is_file():
        with contextlib.suppress(OSError), card.open("rb") as stream:
            text = stream.read(_README_LIMIT).decode(errors="replace").replace("\r\n", "\n")
    block = _FRONT_MATTER.match(text)
    if block is None:
        return None
    licence = _value(block.group(1), "license")
    return (_value(block.group(1), "license_name") or licence) if licence in {None, "other"} else licence


def _value(block: str, key: str) -> str | None:
    found = re.search(rf"^{key}:[ \t]*(?:\n[ \t]*-[ \t]*)?([^\n#]+)", block, re.MULTILINE)
    value = one_line(found.group(1).strip().strip("[]'\""), 60) if found else ""
    return value or None


def _has_chat_template(path: Path) -> bool:
    if (path / "chat_template.jinja").is_file() or any(path.glob("additional_chat_templates/*.jinja")):
        return True
    for name in ("tokenizer_config.json", "chat_template.json"):
        with contextlib.suppress(FtError):
            template = read_json(path / name).get("chat_template")
            if isinstance(template, str | list) and template:
                return True
    return False


def _names_end(path: Path) -> bool:
    """Whether the tokenizer's files name an end token; where they do not, its class may still have one."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        with contextlib.suppress(FtError):
            if read_json(path / name).get("eos_token"):
                return True
    return False


def _refuse_adapter(path: Path) -> None:
    if (path / "config.json").exists() or not (path / ADAPTER).is_file():
        return
    base = read_json(path / ADAPTER).get("base_model_name_or_path")
    shown = one_line(str(base), 100) if base else "a base model"
    raise FtError(
        Problem(
            "this is an adapter, not a model",
            one_line(str(path), 300),
            f"it holds {ADAPTER} only and belongs to {shown}",
            f"choose {shown}, or merge the adapter into it first",
        )
    )


def _require_tokenizer(path: Path) -> None:
    if not has_tokenizer(path):
        raise FtError(
            Problem(
                "there is no tokenizer",
                one_line(str(path), 300),
                "neither tokenizer.json nor tokenizer.model is there, so text cannot be turned into tokens",
                "copy the tokenizer files of the model into the folder",
                kind=MISSING,
            )
        )
