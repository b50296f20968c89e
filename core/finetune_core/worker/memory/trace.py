"""One training step under fake tensors: exactly what it allocates, with no weights, no device and no data.

Every tensor is fake (shape and type, no memory), so a step of a model of any size runs in a second; a dispatch mode
adds up the storages that are alive, rounded as CUDA's caching allocator rounds them. Two depths are traced, and the
rest follows, since layers of one kind cost the same (the error of that was below 0.01 % of a full trace).

`python -P -m finetune_core.worker.memory.trace` answers one request: a JSON object on standard input, a JSON object on
standard output (see `answer` and `step`).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from peft.tuners.lora.layer import LoraLayer
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from trl.kernels import chunked_logprob
from trl.trainer.utils import add_fused_lm_head

from finetune_core.errors import FtError, problem
from finetune_core.models.config import check_folder
from finetune_core.models.trust import is_trusted
from finetune_core.plan.memory.attention import attention_used, masked
from finetune_core.plan.memory.sizes import DEFAULT_LENGTH, wide_weights
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line
from finetune_core.worker.foreign_code import use_private_modules
from finetune_core.worker.memory.fake_4bit import fake_4bit
from finetune_core.worker.model.adapter import lora_config
from finetune_core.worker.model.router_loss import name_experts, with_router
from finetune_core.worker.types import Model

# CUDA's caching allocator gives out multiples of this (kMinBlockSize in c10/cuda/CUDACachingAllocator.cpp).
_ROUNDED_TO = 512
_ATTENTION = "ft_traced"
# Moments of a step: forward pass, head and loss, backward passes of last, middle and first layer, optimiser.
FORWARD, HEAD, LAST, BETWEEN, FIRST, STEP = "forward", "head", "last", "between", "first", "step"
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Traced:
    """Bytes of one training step at its peak, and what they are for; `static` of them stay between steps."""

    parts: dict[str, int]
    static: int

    @property
    def peak(self) -> int:
        """Bytes at the moment of the highest need."""
        return sum(self.parts.values())


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all storages alive, by tag, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._alive: dict[int, tuple[int, str]] = {}
        self._parts: Counter[str] = Counter()
        self.total = 0
        self.tag = "activations"
        self.moment = FORWARD
        self.peaks: dict[str, Counter[str]] = {}

    def add(self, tensor: torch.Tensor, tag: str) -> None:
        """Count a tensor's storage under a tag, until it is freed; one that is known already only gets the tag."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            size, before = self._alive[key]
            if before != tag and tag != self.tag:
                self._parts[before] -= size
                self._parts[tag] += size
                self._alive[key] = (size, tag)
            return
        size = -(-storage.nbytes() // _ROUNDED_TO) * _ROUNDED_TO
        self._alive[key] = (size, tag)
        self._parts[tag] += size
        self.total += size
        weakref.finalize(storage, self._free, key)
        if self.total > self._peak():
            self.peaks[self.moment] = self._parts.copy()

    def _free(self, key: int) -> None:
        size, tag = self._alive.pop(key)
        self._parts[tag] -= size
        self.total -= size

    def _peak(self) -> int:
        return self.peaks[self.moment].total() if self.moment in self.peaks else 0

    def begin(self, moment: str) -> None:
        """What comes now belongs to this moment of the step, whose peak is counted apart."""
        self.moment = moment
        if self.total > self._peak():
            self.peaks[moment] = self._parts.copy()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Run an operator, and count what comes out of it."""
        del types
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf, self.tag)
        return result


def trace(config: PretrainedConfig, recipe: Recipe, device: str) -> Traced:
    """A training step on `device` (cuda or cpu); auto fields count as `finetune_core.plan.memory.estimate` says.

    Raises FtError where a step cannot be traced: an architecture whose code looks at the values of its tensors.
    """
    return max(moments(config, recipe, device).values(), key=lambda traced: traced.peak)


def moments(config: PretrainedConfig, recipe: Recipe, device: str) -> dict[str, Traced]:
    """Each moment of a step at its peak.

    They grow with depth each in its own way, so each is taken onward by itself. Raises FtError as `trace` does.
    """
    if recipe.quantization.method == "int8":
        raise _not_traced(config, "the kernels of int8 look at the values of their tensors")
    depth, _ = _depth(config)
    short, first = shallow(config, recipe, device)
    long = min(depth, 2 * short)
    if long == short:
        return first
    second = _traced(config, long, recipe, device)
    share = (depth - short) / (long - short)
    # Of two layers none is between the last and the first.
    return {name: _onward(first[name], second[name], share) for name in second if short > 2 or name != BETWEEN}


def shallow(config: PretrainedConfig, recipe: Recipe, device: str) -> tuple[int, dict[str, Traced]]:
    """The fewest layers that hold one of each kind, and the moments of a step with these only."""
    depth, period = _depth(config)
    layers = min(depth, max(2, period))
    return layers, _traced(config, layers, recipe, device)


def _onward(first: Traced, second: Traced, share: float) -> Traced:
    def further(before: int, after: int) -> int:
        return max(0, round(before + (after - before) * share))

    parts = {name: further(first.parts.get(name, 0), second.parts[name]) for name in second.parts}
    return Traced(parts, further(first.static, second.static))


def _depth(config: PretrainedConfig) -> tuple[int, int]:
    """Layers of the language part, and after how many of them their kinds repeat."""
    text = config.get_text_config()
    depth = int(text.num_hidden_layers)
    kinds = list(getattr(text, "layer_types", None) or [])
    if getattr(text, "num_kv_shared_layers", 0):
        # The last layers take keys and values of earlier ones: they cannot be left out, and cost less.
        return depth, depth
    for period in range(1, 9):
        if 2 * period <= depth and all(kind == kinds[place % period] for place, kind in enumerate(kinds)):
            return depth, period
    return depth, depth


def _shortened(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    short = type(config).from_dict(config.to_dict())
    text = short.get_text_config()
    text.num_hidden_layers = layers
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers"):
        if isinstance(kinds := getattr(text, name, None), list):
            setattr(text, name, kinds[:layers])
    for name in ("attention_dropout", "attn_pdrop"):
        if hasattr(text, name):
            # Kernels that drop inside keep nothing for it; the one that runs here would.
            setattr(text, name, 0.0)
    return short


def _traced(config: PretrainedConfig, layers: int, recipe: Recipe, device: str) -> dict[str, Traced]:
    """The peak of each moment of a step at this depth."""
    tally = Tally()
    try:
        with _kernels(tally, device), FakeTensorMode(allow_non_fake_inputs=True) as fake:
            model = _build(_shortened(config, layers), recipe, device, fake)
            _count_model(tally, model, full=recipe.adapter.kind == "none")
            _mark_layers(tally, model)
            with tally:
                static = _train(tally, model, recipe, device)
    except Exception as error:
        raise _not_traced(config, f"{type(error).__name__}: {error}") from error
    return {moment: Traced({**parts}, static) for moment, parts in tally.peaks.items()}


def _mark_layers(tally: Tally, model: torch.nn.Module) -> None:
    """Distinguish the backward pass of the last layer, which comes first, from that of the first one."""
    layers = language_layers(model)

    def mark(moment: str) -> Any:  # noqa: ANN401 - a hook
        def hook(_module: Any, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            hidden = output[0] if isinstance(output, tuple) else output
            # When a layer is computed again the step is in its backward pass already.
            if tally.moment == FORWARD and hidden.requires_grad:
                hidden.register_hook(lambda _: tally.begin(moment))

        return hook

    layers[-1].register_forward_hook(mark(LAST))
    layers[-2].register_forward_hook(mark(BETWEEN))
    layers[0].register_forward_hook(mark(FIRST))


def language_layers(model: torch.nn.Module) -> torch.nn.ModuleList:
    """The decoder layers of the language part: of the lists of its depth the one with most parameters."""
    depth = int(model.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr, operator]
    lists = [one for one in model.modules() if isinstance(one, torch.nn.ModuleList) and len(one) == depth]
    return max(lists, key=lambda one: sum(parameter.numel() for parameter in one.parameters()))


@contextmanager
def _kernels(tally: Tally, device: str) -> Iterator[None]:
    """Mark what the fused head allocates; on a GPU its tiles are folded by Triton, which allocates nothing."""
    head = chunked_logprob.ChunkedLogProbFunction
    ALL_ATTENTION_FUNCTIONS.register(_ATTENTION, sdpa_attention_forward)
    with ExitStack() as replaced:
        for name in ("forward", "backward"):
            replaced.enter_context(_instead(head, name, staticmethod(_marked(tally, getattr(head, name)))))
        for name in ("_forward_tile", "_backward_tile", "_addmm_fp32") if device == "cuda" else ():
            replaced.enter_context(_instead(chunked_logprob, name, _nothing))
        yield


def _marked(tally: Tally, work: Callable[..., object]) -> Callable[..., object]:
    @wraps(work)
    def call(*arguments: object) -> object:
        tally.tag, tag = "loss", tally.tag
        tally.begin(HEAD)
        try:
            return work(*arguments)
        finally:
            tally.tag = tag

    return call


def _nothing(*_: object, **__: object) -> None:
    return None


@contextmanager
def _instead(owner: object, name: str, value: object) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _not_traced(config: PretrainedConfig, why: str) -> FtError:
    return problem(
        f"a step of {one_line(str(config.model_type), 60)} cannot be traced",
        where="model.source",
        why=one_line(why, 200),
        remedy="the estimate stands; the run measures the memory when it starts",
    )


def folder_of(config: PretrainedConfig) -> Path:
    """The folder a config was read from, which its model's code is of; one that holds nothing where it was made."""
    return Path(config.name_or_path or os.devnull)


def _build(config: PretrainedConfig, recipe: Recipe, device: str, fake: FakeTensorMode) -> Model:
    """The model as the worker builds it: weights, packed where the recipe says so, the fused head, the adapter.

    It is put together of meta tensors, which PEFT can move about, and becomes fake then.
    """
    config._attn_implementation = _attention_name(config, recipe, device)
    name_experts(config)
    folder = folder_of(config)
    with unset_fake_temporarily():
        with torch.device("meta"):
            model: Model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=weights_dtype(recipe, device), trust_remote_code=is_trusted(folder)
            )
        adapter = lora_config(recipe, model)
        if recipe.quantization.method == "nf4":
            fake_4bit(model, fake, double=recipe.quantization.double)
        tuned = model if adapter is None else get_peft_model(model, adapter, low_cpu_mem_usage=True)
    _faked(tuned, None if adapter is None else torch.float32)
    for module in tuned.modules():
        if isinstance(module, LoraLayer) and weights_dtype(recipe, device) != torch.float32:
            module.cast_input_dtype_enabled = False
    if recipe.training.activation_checkpointing is not False:
        tuned.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        if adapter is not None:
            tuned.enable_input_require_grads()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    tuned.train()
    return tuned


def _faked(model: torch.nn.Module, trained: torch.dtype | None) -> None:
    """Fake tensors in place of meta ones; trained ones in their format (None: the one they have)."""
    made: dict[torch.Tensor, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is None or old.device.type != "meta":
                continue
            if old not in made:
                dtype = trained if trained and old.requires_grad else old.dtype
                made[old] = torch.nn.Parameter(torch.empty(old.shape, dtype=dtype), requires_grad=old.requires_grad)
            module._parameters[name] = made[old]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _attention_name(config: PretrainedConfig, recipe: Recipe, device: str) -> str:
    """Attention without a mask where none is needed; the plain one where padded rows are masked."""
    if attention_used(recipe, config.model_type, device) == "eager":
        return "eager"
    return "sdpa" if masked(recipe, config.model_type, device) else _ATTENTION


def _count_model(tally: Tally, model: torch.nn.Module, *, full: bool) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        trained = tensor.requires_grad and not full
        tally.add(tensor, "adapter" if trained else "weights")
        for scale in _scales(tensor):
            tally.add(scale, "weights")


def _scales(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    state = getattr(tensor, "quant_state", None)
    if state is not None:
        inner = [] if state.state2 is None else [state.offset, state.state2.absmax, state.state2.code]
        yield from (state.absmax, state.code, *inner)


def _train(tally: Tally, model: Model, recipe: Recipe, device: str) -> int:
    """Two steps: the first makes the optimiser's states, the second is measured. Gives the bytes between them."""
    static = 0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(lambda tensor: tally.add(tensor.grad, "gradients"))
    optimiser = _optimiser(trained, recipe, device)
    tally.tag = "optimiser"
    states = list(_states_in_8_bits(trained, model)) if recipe.training.optimizer == "adamw_8bit" else []
    tally.tag = "activations"
    for _ in range(2):
        static = tally.total
        tally.peaks.clear()
        for _ in range(1 if recipe.training.accumulation in {None, 1} else 2):
            tally.begin(FORWARD)
            _forward_backward(model, recipe, device)
        tally.tag = "optimiser"
        tally.begin(STEP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        tally.tag = "activations"
    del states
    return static


def _states_in_8_bits(trained: list[torch.nn.Parameter], model: Model) -> Iterator[torch.Tensor]:
    """What bitsandbytes' Adam keeps: two bytes, and a float32 for 256 of each; of embeddings float32 moments."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for parameter in trained:
        for _ in range(2):
            if id(parameter) in embeddings:
                yield torch.empty(parameter.shape, dtype=torch.float32)
            else:
                yield torch.empty(parameter.numel(), dtype=torch.uint8)
                yield torch.empty(-(-parameter.numel() // 256), dtype=torch.float32)


def _optimiser(trained: list[torch.nn.Parameter], recipe: Recipe, device: str) -> torch.optim.Optimizer:
    if recipe.training.optimizer != "adamw":
        return torch.optim.SGD(trained, lr=1e-4, foreach=False)
    return torch.optim.AdamW(trained, lr=1e-4, fused=device == "cuda", foreach=False if device != "cuda" else None)


def _forward_backward(model: Model, recipe: Recipe, device: str) -> None:
    rows, length = _sizes(model.config, recipe)
    ids = torch.zeros(rows, length, dtype=torch.long)
    inputs: dict[str, Any] = {"input_ids": ids, "labels": ids, "position_ids": torch.arange(length)[None]}
    if masked(recipe, model.config.model_type, device):
        inputs["attention_mask"] = torch.ones(rows, 1, length, length, dtype=torch.bool)
    dtype = weights_dtype(recipe, device)
    half = _DTYPES[recipe.model.dtype] if recipe.model.dtype != "auto" else dtype
    with torch.autocast("cpu", dtype=half if half != torch.float32 else torch.bfloat16, enabled=half != torch.float32):
        asked = with_router(inputs, recipe.training.router_loss)
        loss = model(**asked, fused_lm_head=True, use_cache=False).loss
    loss.backward()


def _sizes(config: PretrainedConfig, recipe: Recipe) -> tuple[int, int]:
    """Sequences and tokens in each; packed rows are one long sequence."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_LENGTH
    length = recipe.data.max_length or min(DEFAULT_LENGTH, context)
    rows = recipe.training.micro_batch or 1
    return (1, rows * length) if recipe.data.packing != "none" else (rows, length)


def weights_dtype(recipe: Recipe, device: str) -> torch.dtype:
    """The format of the weights in memory, as `finetune_core.worker.model.device` chooses it with bfloat16."""
    if recipe.model.dtype == "float32" or (recipe.model.dtype == "auto" and device == "cpu"):
        return torch.float32
    if wide_weights(recipe):
        return torch.float32
    return torch.float16 if recipe.model.dtype == "float16" else torch.bfloat16


def answer(request: Mapping[str, Any], work: Callable[[PretrainedConfig, Mapping[str, Any]], dict[str, Any]]) -> Any:  # noqa: ANN401
    """What `work` makes of the config in the request's `folder`, or the `problem` that it cannot be traced."""
    folder = Path(request["folder"])
    try:
        check_folder(folder)
        use_private_modules()
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=is_trusted(folder))
        return work(config, request)
    except FtError as error:
        return {"problem": asdict(error.problems[0])}


def step(config: PretrainedConfig, request: Mapping[str, Any]) -> dict[str, Any]:
    """`parts` and `static` of a step of the request's `recipe` on its `device`, in bytes. Raises FtError."""
    found = trace(config, Recipe.model_validate(request["recipe"]), request["device"])
    return {"parts": found.parts, "static": found.static}


def serve(work: Callable[[PretrainedConfig, Mapping[str, Any]], dict[str, Any]]) -> None:
    """One request from standard input, one answer to standard output; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    json.dump(answer(json.load(sys.stdin), work), answers)
    answers.close()


if __name__ == "__main__":
    serve(step)
