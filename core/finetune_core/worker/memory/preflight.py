"""The preflight: a few real passes over the longest batch, on the real device, before the run relies on the plan.

What is measured is the memory of a step with everything it will have (gradients, the optimiser's states), of a batch
of the held-out rows, and the speed. No weight changes, and the random numbers go on as if nothing had been drawn.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import torch

from finetune_core.hardware.meter import GpuMeter
from finetune_core.worker.answers.held_out_loss import longest_batch
from finetune_core.worker.model.attention import packed_rows
from finetune_core.worker.model.device import Device
from finetune_core.worker.model.router_loss import with_router
from finetune_core.worker.rows.dataset import Tokens
from finetune_core.worker.types import Model, TrainerOfTrl

# The first pass makes what later ones find; on a CPU they are dear.
_PASSES: Final = {"cuda": 4, "cpu": 2}
# A device on which one pass takes longer is not asked for more of them.
_LONG_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Probed:
    """What was measured; bytes. None where the device does not report it.

    `peak` is what tensors took at the most (on a CPU what the process grew by), `reserved` what the allocator held.
    `device_used` is all that is in use on the GPU, other programs included, or the process's memory on a CPU.
    `tokens` are those of the longest batch, `seconds` of one forward and backward pass over it.
    """

    peak: int
    reserved: int | None
    device_used: int | None
    evaluation_peak: int | None
    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second, without the optimiser's step."""
        return self.tokens / self.seconds


def probe(
    trainer: TrainerOfTrl,
    device: Device,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Probed:
    """Measure the step of a trainer that has not begun. Raises what torch raises when the memory does not suffice."""
    model = trainer.model
    batch, tokens = _longest_training_batch(trainer)
    summed = trainer.args.gradient_accumulation_steps > 1
    model.train()
    with _untouched(model), meter(device) as most:
        states = _optimiser_states(trainer)
        seconds = []
        for number in range(_PASSES[device.kind]):
            begun = time.perf_counter()
            _pass(trainer, batch, autocast)
            _wait(device)
            seconds.append(time.perf_counter() - begun)
            if not summed:
                model.zero_grad(set_to_none=True)
            if number and seconds[-1] > _LONG_SECONDS:
                break
        del states
        model.zero_grad(set_to_none=True)
        peak, reserved, used = most.peak(), most.reserved(), most.device_used()
    return Probed(peak, reserved, used, None, tokens, min(seconds[1:] or seconds))


def _longest_training_batch(trainer: TrainerOfTrl) -> tuple[dict[str, Any], int]:
    """The longest sequences of the training rows as one micro-batch, and its real tokens."""
    rows = trainer.train_dataset
    lengths = pc.list_value_length(rows.data.column("input_ids")).to_pylist()
    places = sorted(range(len(lengths)), key=lambda place: -lengths[place])[: trainer.args.per_device_train_batch_size]
    inputs = trainer.data_collator([rows[place] for place in places])
    return trainer._prepare_inputs(inputs), sum(lengths[place] for place in places)


def _pass(
    trainer: TrainerOfTrl,
    batch: dict[str, Any],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    """One forward and backward pass; the trainer's own would count its tokens as trained."""
    with packed_rows() if trainer.padding_free else nullcontext(), autocast():
        asked = with_router(batch, trainer.args.router_aux_loss_coef)
        loss = trainer.model(**asked, fused_lm_head=True, use_cache=False).loss
    loss.backward()


def _optimiser_states(trainer: TrainerOfTrl) -> list[torch.Tensor]:
    """As many bytes as the optimiser will keep, so that the passes find the memory as full as it will be."""
    each = {"sgd": 0.0, "adamw_bnb_8bit": 2.03}.get(trainer.args.optim.value)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    sizes = [parameter.numel() * (2 * parameter.element_size() if each is None else each) for parameter in trained]
    # Written to, since a CPU gives memory only then.
    return [torch.ones(int(size), dtype=torch.uint8, device=trainer.model.device) for size in sizes if size]


def evaluation_peak(
    model: Model,
    held_out: Tokens,
    pad: int,
    autocast: Callable[[], AbstractContextManager[Any]],
    device: Device,
) -> int | None:
    """Bytes at the most while the largest batch of held-out rows is computed; None where no row is held out."""
    if not len(held_out):
        return None
    with meter(device) as most:
        longest_batch(model, held_out, pad, autocast)
        return most.peak()


@contextmanager
def _untouched(model: torch.nn.Module) -> Iterator[None]:
    """Random numbers and the model's mode as before, and no gradient left."""
    training = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)
            model.train(training)


def _wait(device: Device) -> None:
    if device.kind == "cuda":
        torch.cuda.synchronize()


class Meter:
    """Peaks of memory since the last reset."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._cuda = device.kind == "cuda"
        self._gpus = GpuMeter(device.gpu_uuids)
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            # Lets Linux count the peak of this process anew (proc(5), clear_refs).
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        """Bytes of tensors on a GPU, of the process on a CPU."""
        _wait(self._device)
        if self._cuda:
            return int(torch.cuda.max_memory_allocated())
        return _status("VmHWM")

    def reserved(self) -> int | None:
        """Bytes the GPU's allocator has held."""
        return int(torch.cuda.max_memory_reserved()) if self._cuda else None

    def device_used(self) -> int | None:
        """Bytes in use on the GPU now, whoever uses them; of the process on a CPU."""
        if not self._cuda:
            return _status("VmRSS")
        used = [reading.memory_used for reading in self._gpus.read()]
        return max((value for value in used if value is not None), default=None)


@contextmanager
def meter(device: Device) -> Iterator[Meter]:
    """Count peaks of memory anew within; what was taken there is given back afterwards."""
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    yield Meter(device)
    if device.kind == "cuda":
        # What the longest batch took must not keep the first steps from it.
        torch.cuda.empty_cache()


def _status(name: str) -> int:
    """Bytes of a line of this process's status; 0 where there is none."""
    with suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{os.getpid()}/status").read_text(), re.MULTILINE)
        return int(found.group(1)) * 1024 if found else 0
    return 0
