"""TRL's trainer with what it leaves out: resuming as if unbroken, and weights that can be trained and trusted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase
from trl.kernels import chunked_logprob
from trl.trainer.sft_trainer import SFTTrainer

from finetune_core.errors import problem
from finetune_core.recipe.schema import Recipe
from finetune_core.text import one_line
from finetune_core.worker.model.attention import packed_rows
from finetune_core.worker.model.device import Device
from finetune_core.worker.rows.dataset import Tokens

_ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Parts:
    """What a trainer is made of: model, settled recipe, device, the run's folder of checkpoints, tokenizer, rows."""

    model: Any
    recipe: Recipe
    device: Device
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    rows: Tokens


class Trainer(SFTTrainer):
    """SFTTrainer that restores an adapter's weights in place, and gives attention the bounds of packed rows."""

    # Tokens the loss of the present step is taken on; None before the first.
    trained_tokens: torch.Tensor | int | None = None
    # Runs of earlier versions began with a step at rate 0, and go on with the rates they began with.
    rises_from_zero = False
    # The base's config as it was loaded, which a checkpoint of all weights is saved with.
    own_config: Any = None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ANN401 - as above
        """The schedule of the learning rate, whose first step has a rate above 0 however short the warm-up is."""
        made: Any = super().create_scheduler(num_training_steps, optimizer)
        if not self.rises_from_zero:
            rise_at_once(made, self.args.get_warmup_steps(num_training_steps))
        return made

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the method it replaces
        """The micro-batches of the next step, whose trained tokens are counted."""
        found = super().get_batch_samples(*arguments, **named)  # type: ignore[no-untyped-call, unused-ignore]
        self.trained_tokens = found[1]
        return found

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401 - as the method it replaces
        """One forward and backward pass."""
        with packed_rows() if self.padding_free else nullcontext():
            loss: torch.Tensor = super().training_step(*arguments, **named)  # type: ignore[no-untyped-call]
        return loss

    def _load_from_checkpoint(
        self,
        resume_from_checkpoint: str,
        model: Any = None,  # noqa: ANN401 - as the method it replaces
    ) -> None:
        """Load what was trained. PEFT's own loading would turn the bfloat16 adapter of a quantised base to float32."""
        tuned = self.model if model is None else model
        if not isinstance(tuned, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        path = Path(resume_from_checkpoint) / _ADAPTER
        found: Any = set_peft_model_state_dict(tuned, load_file(path))
        wrong = [*found.unexpected_keys, *(name for name in found.missing_keys if "lora_" in name)]
        if wrong:
            raise problem(
                "the checkpoint's adapter does not fit the model",
                where=str(path),
                why=f"{len(wrong)} weights differ, among them {wrong[0]}",
                remedy="start a new run: the recipe or the model is not the one the checkpoint was made with",
            )


def without_triton() -> str | None:
    """Let TRL's fused head compute in plain torch where Triton cannot; why it cannot, or None where it can.

    Triton builds a part of itself on first use, with the machine's C compiler and Python's headers, and images for
    rented GPUs often lack one of them.
    """
    try:
        from triton.runtime import driver  # type: ignore[import-not-found, import-untyped, unused-ignore]

        driver.active.get_current_target()
    except (ImportError, RuntimeError, OSError, AssertionError, subprocess.SubprocessError) as error:
        chunked_logprob._TRITON_AVAILABLE = False
        return one_line(f"{type(error).__name__}: {error}", 200)
    return None


def rise_at_once(schedule: torch.optim.lr_scheduler.LambdaLR, warmup: int) -> None:
    """Let the rate of step n of a warm-up of w steps be n / (w + 1) of the peak, where transformers has (n - 1) / w.

    With that the first step would train nothing, and a run of one step nothing at all.
    """
    before = schedule.lr_lambdas[0]

    def rate(done: int) -> float:
        return (done + 1) / (warmup + 1) if done < warmup else float(before(done))

    schedule.lr_lambdas = [rate] * len(schedule.lr_lambdas)
    schedule._last_lr = [base * rate(schedule.last_epoch) for base in schedule.base_lrs]
    for group, value in zip(schedule.optimizer.param_groups, schedule._last_lr, strict=True):
        group["lr"] = value


def keep_adapter_in_float32(model: torch.nn.Module) -> None:
    """Turn an adapter to float32, and so the optimiser's states, whatever its base is stored in.

    TRL makes that of a quantised base bfloat16, where an update of less than a 512th of a weight is rounded away: after
    200 steps a fifth of the entries had never moved.
    """
    if isinstance(model, PeftModel):
        keep_in_float32(model)


def keep_in_float32(model: torch.nn.Module) -> None:
    """Turn what is trained to float32, as computing in float16 demands: the scale of its gradients is taken out again.

    Torch does that for no 16-bit gradients.
    """
    for parameter in _trained(model):
        parameter.data = parameter.data.float()


def all_numbers(model: torch.nn.Module) -> bool:
    """Whether every trained weight is a number: one gradient that overflows spoils them after a loss that was fine."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in _trained(model))


def _trained(model: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)
