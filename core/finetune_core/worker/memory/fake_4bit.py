"""4-bit layers without weights, for tracing: what bitsandbytes would keep in memory, as fake tensors."""

from __future__ import annotations

import torch
from bitsandbytes.functional import QuantState
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

_BLOCK, _NESTED_BLOCK = 64, 256


def fake_4bit(model: nn.Module, fake: FakeTensorMode, *, double: bool) -> None:
    """Put 4-bit layers in place of the linear ones, all but the head; their packed weights are fake."""
    for name, module in list(model.named_modules()):
        for child_name, child in list(module.named_children()):
            full = f"{name}.{child_name}"
            if type(child) is nn.Linear and not full.endswith(("lm_head", "embed_out")):
                setattr(module, child_name, _packed(child, fake, double=double))


def _packed(layer: nn.Linear, fake: FakeTensorMode, *, double: bool) -> Linear4bit:
    packed = Linear4bit(  # type: ignore[no-untyped-call]
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=torch.bfloat16,
        compress_statistics=double,
        quant_type="nf4",
        device="meta",
    )
    count = layer.in_features * layer.out_features
    with fake:
        weight = nn.Parameter(torch.empty((count + 1) // 2, 1, dtype=torch.uint8), requires_grad=False)
        state = _state(torch.Size([layer.out_features, layer.in_features]), double=double)
    for key, value in {
        "quant_state": state,
        "blocksize": _BLOCK,
        "compress_statistics": double,
        "quant_type": "nf4",
        "bnb_quantized": True,
        "quant_storage": torch.uint8,
    }.items():
        setattr(weight, key, value)
    packed._parameters["weight"] = weight
    if layer.bias is not None:
        packed._parameters["bias"] = nn.Parameter(layer.bias.data, requires_grad=False)
    packed.quant_state = state
    packed.compute_type_is_set = True
    packed.support_avx512bf16_for_cpu = False
    return packed


def _state(shape: torch.Size, *, double: bool) -> QuantState:
    blocks = -(-shape.numel() // _BLOCK)
    table = torch.empty(16, dtype=torch.float32)
    common = {"shape": shape, "code": table, "blocksize": _BLOCK, "quant_type": "nf4", "dtype": torch.bfloat16}
    if not double:
        return QuantState(absmax=torch.empty(blocks, dtype=torch.float32), **common)  # type: ignore[no-untyped-call]
    nested = QuantState(  # type: ignore[no-untyped-call]
        absmax=torch.empty(-(-blocks // _NESTED_BLOCK), dtype=torch.float32),
        code=torch.empty(256, dtype=torch.float32),
        blocksize=_NESTED_BLOCK,
        dtype=torch.float32,
    )
    absmax = torch.empty(blocks, dtype=torch.uint8)
    return QuantState(  # type: ignore[no-untyped-call]
        absmax=absmax, offset=torch.empty((), dtype=torch.float32), state2=nested, **common
    )
