"""The loss that is trained on is the model's own, or the model is refused by name."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from finetune_core.errors import FtError
from tests.core.worker.test_apart import small


@pytest.mark.parametrize("kind", ["llama", "granite", "cohere", "gemma2", "mpt"])
def test_heads_the_trainer_knows_pass(kind: str) -> None:
    from trl.trainer.utils import add_fused_lm_head

    from finetune_core.worker.model.loss_head import refuse_another_loss

    model = small(kind).train()
    add_fused_lm_head(model)
    refuse_another_loss(model, nullcontext)
    assert model.training


def test_a_scale_of_the_logits_that_the_fused_head_leaves_out_is_refused_by_name() -> None:
    from trl.trainer.utils import add_fused_lm_head

    from finetune_core.worker.model.loss_head import refuse_another_loss

    model = small("granite")
    # What the head reads when it is put on, and the model at each pass.
    model.config.logits_scaling = 1.0
    add_fused_lm_head(model)
    model.config.logits_scaling = 4.0
    with pytest.raises(FtError, match="type granite cannot be trained"):
        refuse_another_loss(model, nullcontext)
