from __future__ import annotations

import pytest

from finetune_core.plan.report import packing_words


@pytest.mark.parametrize("gain", [None, 0.5, 1.0, 1.004])
def test_packing_that_saves_nothing_is_not_said_to_save(gain: float | None) -> None:
    assert packing_words(gain) == ""


@pytest.mark.parametrize(("gain", "share"), [(1.02, "2 %"), (1.25, "20 %"), (4.0, "75 %")])
def test_packing_is_said_to_save_the_share_of_tokens_that_padding_would_add(gain: float, share: str) -> None:
    assert packing_words(gain).startswith(f"packing saves {share} of the tokens")
