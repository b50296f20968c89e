from __future__ import annotations

import pytest

from finetune_core.text import bytes_text, count_text, counted, plural


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1200, "1.2k"), (134_515_008, "135M"), (999_885_952, "1B"),
                        (8_030_261_248, "8.03B"), (1.2e12, "1.2T")],
)  # fmt: skip
def test_a_billion_of_parameters_or_tokens_is_a_b_and_never_a_g(count: float, text: str) -> None:
    assert count_text(count) == text


def test_bytes_keep_their_g() -> None:
    assert bytes_text(8_030_261_248) == "8.03 GB"


def test_one_thing_is_told_in_the_singular_and_none_and_many_in_the_plural() -> None:
    assert [counted(count, "row") for count in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert [plural(count, "row is", "rows are") for count in (0, 1, 2)] == ["rows are", "row is", "rows are"]
    assert plural(1.5, "epoch") == "epochs"
