"""TRL's trainer, with the one change that makes a resumed run equal to an unbroken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from trl.trainer.sft_trainer import SFTTrainer

from ft_core.errors import problem

_ADAPTER = "adapter_model.safetensors"


class Trainer(SFTTrainer):
    """SFTTrainer that puts an adapter's weights back into the parameters it has."""

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
