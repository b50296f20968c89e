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
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

VARLEN: Final = "ft_varlen"
# How far the roundings of two kernels may be apart, as a share of the outputs' norm.
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
# What only other kernels compute; the self-test would find it too, but not say why.
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
    if other := [name for name in _UNSUPPORTED if named.get(name) is not None] or (["dropout"] if dropout else []):
        raise NotImplementedError(f"the kernel for packed rows computes no {', '.join(other)}")
    # Packed rows are one long sequence.
    heads = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    window = int(sliding_window) if sliding_window else None
    if query.is_cuda:
        bounds = cu_seq_lens_q.to(query.device)
        attended = varlen_attn(
            heads[0],
            heads[1],
            heads[2],
            bounds,
            bounds,
            int(max_length_q),
            int(max_length_q),
            scale=scaling,
            window_size=(window - 1 if window else -1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
    else:
        attended = _row_by_row(heads, cu_seq_lens_q, scaling, window)
    assert isinstance(attended, torch.Tensor)
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


def use_varlen(model: PreTrainedModel) -> str | None:
    """Let the model attend to packed rows without a mask, if it computes the same so; else why not.

    Two short rows are computed packed and alone: a row must not see the other, and must come out as it does alone.
    """
    before = model.config._attn_implementation
    register()
    try:
        model.set_attn_implementation(VARLEN)
        why = _differs(model)
    except Exception as error:  # noqa: BLE001 - whatever the architecture cannot do is a reason to leave it out
        why = f"{type(error).__name__}: {error}"
    if why is not None:
        model.set_attn_implementation(before)
    return why


def _differs(model: PreTrainedModel) -> str | None:
    """How packed rows come out otherwise than alone; None when they do not."""
    device, training = model.device, model.training
    model.train(False)
    try:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            size = min(int(model.config.get_text_config().vocab_size), 1000)
            first, other, second = (torch.randint(size, (n,), generator=generator).to(device) for n in (5, 5, 7))
            packed, beside_other = (_hidden(model, [row, second])[-7:] for row in (first, other))
            with_mask = model.base_model(input_ids=second[None], use_cache=False).last_hidden_state[0]
    finally:
        model.train(training)
    allowed = _TOLERANCE.get(with_mask.dtype, 1e-4)
    if _apart(packed, beside_other) > allowed:
        return "a packed row sees the row before it"
    apart = _apart(packed, with_mask)
    return None if apart <= allowed else f"packed rows come out {100 * apart:.2g} % apart from lone ones"


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


def _hidden(model: PreTrainedModel, rows: list[torch.Tensor]) -> torch.Tensor:
    lengths = torch.tensor([0, *map(len, rows)], dtype=torch.int32).cumsum(0).to(torch.int32)
    places = torch.cat([torch.arange(len(row)) for row in rows])[None].to(model.device)
    boundaries: dict[str, Any] = {
        "cu_seq_lens_q": lengths,
        "cu_seq_lens_k": lengths,
        "max_length_q": max(map(len, rows)),
        "max_length_k": max(map(len, rows)),
    }
    with packed_rows():
        found = model.base_model(
            input_ids=torch.cat(rows)[None], position_ids=places, use_cache=False, **boundaries
        ).last_hidden_state[0]
    assert isinstance(found, torch.Tensor)
    return found
