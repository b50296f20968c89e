"""Attention over packed rows that never forms a mask of all pairs of tokens.

Registered with transformers through its public interfaces under the name `ft_varlen`. A packed training batch carries
the boundaries of its rows (TRL's collator gives `cu_seq_lens_q`); between them torch's variable-length kernel computes
on a GPU, and the ordinary one row by row on a CPU. Everything else (padded rows, generation) goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finetune_core.worker.versions import attend_to_packed

VARLEN: Final = "ft_varlen"
# What only other kernels compute; trying rows would find it too, but not say why.
_UNSUPPORTED: Final = ("softcap", "s_aux", "position_bias")


class _Mode:
    """Whether batches are packed rows now: of the process, since backward passes run in threads of their own."""

    packed = False


@contextmanager
def packed_rows() -> Iterator[None]:
    """Within, batches are packed rows with their boundaries, and no mask is made for them."""
    before, _Mode.packed = _Mode.packed, True
    try:
        yield
    finally:
        _Mode.packed = before


def register() -> None:
    """Make `ft_varlen` known to transformers."""
    AttentionInterface.register(VARLEN, _attend)
    AttentionMaskInterface.register(VARLEN, _mask)


def _mask(*arguments: Any, **named: Any) -> torch.Tensor | None:  # noqa: ANN401 - as transformers' mask functions
    return None if _Mode.packed else sdpa_mask(*arguments, **named)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    **named: Any,  # noqa: ANN401 - what single architectures add
) -> tuple[torch.Tensor, None]:
    """The attention interface of transformers: [batch, heads, tokens, width] in, [batch, tokens, heads, width] out."""
    if cu_seq_lens_q is None and not _Mode.packed:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **named
        )
    if cu_seq_lens_q is None or max_length_q is None or attention_mask is not None:
        # Anything but the kernels below would look across rows.
        raise NotImplementedError("its layers are not given the boundaries of packed rows")
    if other := [name for name in _UNSUPPORTED if named.get(name) is not None]:
        raise NotImplementedError(f"the kernel for packed rows computes no {', '.join(other)}")
    # Nor does it drop anything: `dropout` is left out, and the run says so (`finetune_core.worker.model.speedups`).
    # Packed rows are one long sequence.
    heads = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    window = int(sliding_window) if sliding_window else None
    if query.is_cuda:
        bounds = cu_seq_lens_q.to(query.device)
        attended = attend_to_packed(heads, bounds, int(max_length_q), scaling, window)
    else:
        attended = _row_by_row(heads, cu_seq_lens_q, scaling, window)
    return attended[None], None


def _row_by_row(
    heads: list[torch.Tensor], bounds: torch.Tensor, scale: float | None, window: int | None
) -> torch.Tensor:
    """[tokens, heads, width] of all rows, each attended to by itself."""
    places = bounds.tolist()
    rows = []
    for begin, end in pairwise(places):
        query, key, value = (tensor[begin:end].transpose(0, 1)[None] for tensor in heads)
        mask = _windowed(end - begin, window) if window and end - begin > window else None
        attended = scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
        rows.append(attended[0].transpose(0, 1))
    return torch.cat(rows)


def _windowed(length: int, window: int) -> torch.Tensor:
    place = torch.arange(length)
    behind = place[:, None] - place[None, :]
    return (behind >= 0) & (behind < window)
