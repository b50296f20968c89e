"""A mixture's loss for even use of its experts, where the recipe asks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import torch

from finetune_core.errors import problem
from finetune_core.text import one_line
from finetune_core.worker.model.undisturbed import undisturbed
from finetune_core.worker.types import Model

# How configs call the number of experts, and of those that a token meets; TRL reads the first name of each.
_NAMES: Final = (
    ("num_experts", "num_local_experts", "n_routed_experts"),
    ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk"),
)


def name_experts(config: Any) -> None:  # noqa: ANN401 - a transformers config
    """Have the config count its experts under the names by which TRL looks for them."""
    text = config.get_text_config()
    for names in _NAMES:
        count = next((count for name in names if (count := getattr(text, name, None))), None)
        if count is not None:
            setattr(text, names[0], count)


def with_router(inputs: dict[str, Any], weight: float) -> dict[str, Any]:
    """A model's inputs, with the router's logits asked for where their loss is wanted.

    The config never asks for them: models would take their loss of each answer they write, and fail.
    """
    return {**inputs, "output_router_logits": True} if weight else inputs


def refuse_without_router(
    model: Model,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Raise FtError when the model gives no loss of its router, tried with a row of two tokens."""
    ids = torch.ones((1, 2), dtype=torch.long, device=model.device)
    inputs = with_router({"input_ids": ids, "labels": ids}, 1.0)
    why = "it gives no logits of a router"
    with undisturbed(model), autocast():
        try:
            found = model(**inputs, fused_lm_head=True, use_cache=False).aux_loss
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            found, why = None, f"{type(error).__name__}: {error}"
    if not isinstance(found, torch.Tensor):
        raise problem(
            f"models of the type {one_line(str(model.config.model_type), 60)} have no loss of a router",
            where="training.router_loss",
            why=one_line(why, 300),
            remedy="set training.router_loss to 0, as it is by default",
        )
