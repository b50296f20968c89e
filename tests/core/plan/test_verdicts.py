from __future__ import annotations

import pytest

from finetune_core.models.catalogue import from_catalogue
from finetune_core.plan.advice.fits import Verdict, order, rank, verdicts
from finetune_core.plan.advice.margin import margin
from tests.core.plan.cases import LLAMA_8B, QWEN_600M, UNKNOWN

GIB = 2**30


def judged(gib: float) -> dict[str, Verdict]:
    return {found.method: found for found in verdicts(LLAMA_8B, int(gib * GIB))}


@pytest.mark.parametrize(
    ("gib", "full", "lora", "qlora"),
    [
        # What people report: an 8B takes LoRA on 24 GB and QLoRA on 12, and full tuning not on one 48 GB card.
        (8, "no", "no", "tight"), (12, "no", "no", "room"), (24, "no", "room", "room"), (48, "no", "room", "room"),
        (80, "room", "room", "room"),
    ],
)  # fmt: skip
def test_an_8b_fits_where_people_report_it_does(gib: float, full: str, lora: str, qlora: str) -> None:
    found = judged(gib)
    assert (found["full"].fit, found["lora"].fit, found["qlora"].fit) == (full, lora, qlora)


def test_what_does_not_fit_says_by_how_much_and_what_fits_up_to_which_length() -> None:
    found = judged(24)
    assert found["full"].length is None
    assert found["full"].needs - found["full"].over == 24 * GIB
    assert (found["full"].words, found["lora"].words, judged(8)["qlora"].words[0]) == ("-41G", "8k", "~")
    assert (found["qlora"].length or 0) > (found["lora"].length or 0) >= 2048
    assert found["qlora"].needs <= 24 * GIB
    assert not judged(80)["lora"].checkpointing
    assert found["lora"].checkpointing


def test_a_70b_needs_an_80_gb_card_and_4_bits() -> None:
    llama = from_catalogue("meta-llama/Llama-3.3-70B-Instruct")
    assert llama is not None
    small, large = ({one.method: one.fit for one in verdicts(llama, int(gib * GIB))} for gib in (24, 80))
    assert set(small.values()) == {"no"}
    assert (large["full"], large["lora"]) == ("no", "no")
    assert large["qlora"] in {"room", "tight"}


def test_models_are_ranked_by_what_fits_and_unknown_ones_come_last() -> None:
    assert verdicts(UNKNOWN, 24 * GIB) == ()
    ranks = [rank(verdicts(LLAMA_8B, int(gib * GIB))) for gib in (24, 8, 4)]
    assert ranks == [2, 1, 0]
    assert rank(()) == -1
    some = verdicts(LLAMA_8B, 24 * GIB)
    assert order(LLAMA_8B, some, "cuda") < order(QWEN_600M, some, "cuda"), "the largest first"
    assert order(QWEN_600M, some, "cpu") < order(LLAMA_8B, some, "cpu"), "the quickest first"


@pytest.mark.parametrize("gib", [7.0, 7.5, 8, 11.6, 14.6, 17.5, 18, 23.5, 79])
def test_room_leaves_the_margin_free_and_what_does_not_is_tight(gib: float) -> None:
    free = int(gib * GIB)
    for found in judged(gib).values():
        assert (found.fit == "no") is (found.length is None)
        if found.fit == "room":
            assert found.needs <= free - margin(free)
        elif found.fit == "tight":
            assert found.needs <= free
