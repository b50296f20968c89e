"""Which layers get an adapter: under `all-linear` every linear layer that rows reach, and no router.

A router decides which experts see a token. Trained on a few thousand rows it unlearns what balanced them, so it gets an
adapter only where the recipe names it. Parts for pictures and sound are never reached by rows of text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.utils import transformers_weight_conversion as conversion
from transformers.pytorch_utils import Conv1D

from finetune_core.recipe.schema import ALL_LINEAR
from finetune_core.worker.types import Model

# What PEFT can put a LoRA adapter on, quantised layers being kinds of Linear.
ADAPTABLE: Final = (
    torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, Conv1D,
)  # fmt: skip
_LINEAR: Final = (torch.nn.Linear, Conv1D)
_ROUTERS: Final = frozenset(("gate", "router"))
_EXPERTS: Final = "experts"


def all_linear(model: Model) -> dict[str, Any]:
    """PEFT's arguments for an adapter on every linear layer that rows reach: `target_modules` and `exclude_modules`."""
    linear = [name for name, module in model.named_modules() if isinstance(module, _LINEAR)]
    heads = {name for name, module in model.named_modules() if module is model.get_output_embeddings()}
    routers = _routers(model)
    reached = _language_part(model)
    inside = [name for name in linear if name not in heads and name.startswith(reached)]
    wanted = [name for name in inside if not any(_within(name, router) for router in routers)]
    stacked = stacked_experts(model)
    if not stacked and len(wanted) == len([name for name in linear if name not in heads]):
        return {"target_modules": ALL_LINEAR}
    leaves = {_leaf(name) for name in wanted} | stacked
    left_out = [name for name in linear if name not in wanted and _leaf(name) in leaves]
    return {"target_modules": sorted(leaves), **({"exclude_modules": left_out} if left_out else {})}


def adapted(model: torch.nn.Module) -> dict[str, int]:
    """How many layers of each name have an adapter; the experts' matrices go by `experts.` and their name."""
    found: Counter[str] = Counter()
    for name, module in model.named_modules():
        if isinstance(module, ParamWrapper):
            place = _leaf(name.replace(".base_layer", ""))
            found[f"{place}.{module.parameter_name}" if place == _EXPERTS else place] += 1
        elif isinstance(module, LoraLayer):
            found[_leaf(name)] += 1
    return dict(sorted(found.items()))


def has_stacked_adapters(model: torch.nn.Module) -> bool:
    """Whether adapters lie on stacked experts, where PEFT lets them have no dropout."""
    return any(isinstance(module, ParamWrapper) for module in model.modules())


def without_adapter(model: torch.nn.Module) -> list[str]:
    """What of the model has no adapter, in words, each kind once: experts, routers, parts that rows never reach."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    names = {name.replace(".base_layer", "") for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    found = []
    experts = {name for name, _ in base.named_modules() if _leaf(name) == _EXPERTS}
    if experts and not any(_within(name, place) for name in names for place in experts):
        found.append("the experts")
    routers = _routers(base)
    if routers and not any(_within(name, router) for name in names for router in routers):
        found.append("the router")
    reached = _language_part(base)
    apart = [name for name, module in base.named_modules() if isinstance(module, _LINEAR)]
    outside = {part for name in apart if not name.startswith(reached) if (part := _part(name, reached))}
    return found + [f"{part}, which rows of text do not reach" for part in sorted(outside)]


def in_words(adapters: Mapping[str, int], none: list[str]) -> str:
    """Both as a line of the log."""
    listed = ", ".join(f"{name} ({count})" for name, count in adapters.items())
    return f"adapters on {listed}" + (f"; none on {', '.join(none)}" if none else "")


def _language_part(model: Model) -> str:
    """The prefix of the names of its modules; empty where the whole model is it."""
    if model.config.get_text_config() is model.config:
        return ""
    decoder = model.get_decoder()
    found = next((name for name, module in model.named_modules() if module is decoder), "")
    return f"{found}." if found else ""


def _routers(model: torch.nn.Module) -> set[str]:
    """The names of the modules that choose experts: a gate or router that lies beside them."""
    names = {name for name, _ in model.named_modules()}
    beside = {name.rpartition(".")[0] for name in names if _leaf(name) == _EXPERTS}
    return {name for name in names if _leaf(name) in _ROUTERS and name.rpartition(".")[0] in beside}


def stacked_experts(model: Model) -> set[str]:
    """The names PEFT knows stacked experts by, where it knows those of this architecture."""
    kind = vars(conversion)["_MODEL_TO_CONVERSION_PATTERN"].get(model.config.model_type)
    known = vars(conversion)["_MOE_TARGET_MODULE_MAPPING"].get(kind, {})
    there = any(_leaf(name) == _EXPERTS for name, _ in model.named_modules())
    return {name for name in known if name not in _ROUTERS} if there else set()


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _part(name: str, reached: str) -> str:
    """The first word of a module's name that is not shared with the language part."""
    ours, theirs = name.split("."), reached.split(".")
    return next((word for place, word in enumerate(ours) if place >= len(theirs) or word != theirs[place]), "")


def named(model: torch.nn.Module) -> Iterator[str]:
    """The names of the layers that can take an adapter."""
    return (name for name, module in model.named_modules() if isinstance(module, ADAPTABLE))
