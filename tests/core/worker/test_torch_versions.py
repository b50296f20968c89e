from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from finetune_core.worker import versions
from finetune_core.worker.versions import attend_to_packed


def ordinary(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, width] of one row, by torch's own kernel, which refuses heads of different number."""
    turned = (one.transpose(0, 1)[None] for one in (query, key, value))
    return scaled_dot_product_attention(*turned, is_causal=True)[0].transpose(0, 1)


def of_2_11(query: Any, key: Any, value: Any, *_: Any, scale: Any = None, window_size: Any = (-1, -1)) -> torch.Tensor:
    """A kernel with the arguments of torch 2.11, for one row."""
    return ordinary(query, key, value)


def of_2_13(
    query: Any, key: Any, value: Any, *_: Any, scale: Any = None, window_size: Any = (-1, -1), enable_gqa: bool = False
) -> torch.Tensor:
    """A kernel with those of torch 2.13, for one row."""
    if enable_gqa:
        key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], 1) for one in (key, value))
    return ordinary(query, key, value)


@pytest.mark.parametrize("kernel", [of_2_11, of_2_13])
@pytest.mark.parametrize("heads", [2, 4])
def test_grouped_heads_are_attended_to_alike_in_every_torch(
    monkeypatch: pytest.MonkeyPatch, kernel: Any, heads: int
) -> None:
    monkeypatch.setattr(versions, "_kernel", lambda: (kernel, kernel is of_2_13))
    torch.manual_seed(0)
    query, key, value = torch.randn(6, 4, 8), torch.randn(6, heads, 8), torch.randn(6, heads, 8)
    whole = [one.repeat_interleave(4 // heads, 1) for one in (key, value)]
    found = attend_to_packed([query, key, value], torch.tensor([0, 6]), 6, None, None)
    torch.testing.assert_close(found, ordinary(query, *whole))


def test_the_arguments_given_to_the_kernel_are_those_this_torch_takes() -> None:
    kernel, groups_heads = versions._kernel()
    taken = inspect.signature(kernel).parameters
    assert {"scale", "window_size"} <= set(taken)
    assert groups_heads == ("enable_gqa" in taken)
