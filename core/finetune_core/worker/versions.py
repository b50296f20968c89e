"""What differs between the versions of torch that are supported (2.11 and newer), in one place.

2.11: `varlen_attn` takes no `enable_gqa`, so keys and values of grouped heads are repeated before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch


@cache
def _kernel() -> tuple[Callable[..., Any], bool]:
    """The kernel, and whether it takes fewer heads of keys than of queries; importing it takes a while."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, "enable_gqa" in inspect.signature(varlen_attn).parameters


def attend_to_packed(
    heads: list[torch.Tensor], bounds: torch.Tensor, longest: int, scale: float | None, window: int | None
) -> torch.Tensor:
    """[tokens, heads, width] of packed rows, by torch's kernel for rows of different lengths, on a GPU.

    `heads` are query, key and value in that shape; `bounds` the int32 places where rows begin, and the end; `window`
    the number of tokens a token looks back at, its own included.
    """
    query, key, value = heads
    kernel, groups_heads = _kernel()
    grouped = query.shape[1] != key.shape[1]
    named: dict[str, Any] = {"scale": scale, "window_size": (window - 1 if window else -1, 0)}
    if grouped and groups_heads:
        named["enable_gqa"] = True
    elif grouped:
        key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], dim=1) for one in (key, value))
    attended = kernel(query, key, value, bounds, bounds, longest, longest, **named)
    assert isinstance(attended, torch.Tensor)
    return attended
