"""Figures of an architecture that no formula knows: a few traced steps, from which every other step follows.

What a layer keeps grows with the tokens: steps are traced with adapters, with all weights trained, in float32, and
with checkpointing. `finetune_core.plan.memory.estimate` computes with what they come to for each token.
`python -P -m finetune_core.worker.memory.layer_costs` answers one request, as `finetune_core.worker.memory.trace` does.
"""

from __future__ import annotations

from dataclasses import asdict

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, PretrainedConfig

from finetune_core.errors import FtError
from finetune_core.models.layer_costs import Figures
from finetune_core.models.trust import is_trusted
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.memory.trace import (
    BETWEEN,
    FORWARD,
    LAST,
    folder_of,
    language_layers,
    moments,
    serve,
    shallow,
)
from finetune_core.worker.model.adapter import lora_config
from finetune_core.worker.types import Model

# Tokens of the traced steps: enough for every kernel's blocks, and all that is kept grows with them.
_TOKENS = 512
_RANK = 8


def figures(config: PretrainedConfig) -> Figures:
    """The figures of a model with this config. Raises FtError where its step cannot be traced."""
    adapted = _recipe()
    counted = _counted(config, adapted)
    by_rank = 2 * _RANK * counted["modules"]
    kept = _activations(config, adapted)
    full = _activations(config, with_values(adapted, {"adapter.kind": "none"}))
    try:
        wide = _activations(config, with_values(adapted, {"model.dtype": "float32"}))[FORWARD]
    except FtError:
        # Some kernels of experts multiply in 16 bits only; nothing can be more than twice as wide.
        wide = 2 * kept[FORWARD]
    return Figures(
        **counted,
        kept=kept[LAST] - by_rank,
        upcast=max(0, 2 * kept[FORWARD] - wide),
        trained=max(0, full[FORWARD] - kept[FORWARD] + by_rank),
        busy=_busy(config, with_values(adapted, {"training.activation_checkpointing": True})),
    )


def _recipe() -> Recipe:
    values: dict[str, object] = {
        "model.dtype": "bfloat16",
        "quantization.method": "none",
        "adapter.rank": _RANK,
        "data.packing": "bfd",
        "data.max_length": _TOKENS,
        "training.attention": "varlen",
        "training.micro_batch": 1,
        "training.accumulation": 1,
        "training.activation_checkpointing": False,
    }
    return with_values(Recipe(), values)


def _activations(config: PretrainedConfig, recipe: Recipe) -> dict[str, int]:
    """Bytes of activations for each token, at the moments of a step."""
    found = moments(config, recipe, "cuda")
    return {moment: round(found[moment].parts["activations"] / _TOKENS) for moment in (FORWARD, LAST)}


def _busy(config: PretrainedConfig, recipe: Recipe) -> int:
    """Bytes for each token of the layer that needs most while it is computed again, beside the checkpoints."""
    layers, found = shallow(config, recipe, "cuda")
    most = max(found[moment].parts["activations"] for moment in (LAST, BETWEEN) if moment in found)
    return max(0, round(most / _TOKENS) - 2 * int(config.get_text_config().hidden_size) * layers)


def _counted(config: PretrainedConfig, recipe: Recipe) -> dict[str, int]:
    """Parameters of the whole model, of its layers' matrices and of adapters on them."""
    folder = folder_of(config)
    with torch.device("meta"):
        model: Model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, trust_remote_code=is_trusted(folder)
        )
    layers = language_layers(model)
    matrices = [module.weight.numel() for module in layers.modules() if isinstance(module, torch.nn.Linear)]
    every = sum(parameter.numel() for parameter in layers.parameters())
    experts = sum(parameter.numel() for name, parameter in layers.named_parameters() if ".experts." in name)
    counted = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "linear": sum(matrices),
        "active": every - experts + round(experts * _share_met(config)),
        "largest": max(matrices),
    }
    adapter = lora_config(recipe, model)
    assert adapter is not None
    tuned = get_peft_model(model, adapter, low_cpu_mem_usage=True)
    trained = [parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad]
    return {**counted, "modules": len(trained) // 2, "adapter": sum(trained) // _RANK}


def _share_met(config: PretrainedConfig) -> float:
    """The share of a mixture's experts that one token meets."""
    text = config.get_text_config()
    met = getattr(text, "num_experts_per_tok", None) or getattr(text, "top_k_experts", None)
    experts = getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None)
    return met / experts if met and experts else 1.0


if __name__ == "__main__":
    serve(lambda config, _: asdict(figures(config)))
