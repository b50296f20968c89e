from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from finetune_core.evaluation.losses import RowLosses, bits_change, grouped, load, loss_change


def test_the_loss_counts_every_token_alike() -> None:
    assert RowLosses((10.0, 2.0), (9, 1)).mean == 1.2
    assert math.isnan(RowLosses((), ()).mean)


def test_bits_per_byte_are_those_of_raw_text_only() -> None:
    assert RowLosses((math.log(2) * 8,), (4,), (16,)).bits_per_byte == pytest.approx(0.5)
    assert RowLosses((1.0,), (4,)).bits_per_byte is None


def test_the_pieces_of_a_text_are_one_measurement() -> None:
    found = grouped([3, 3, 5, 3], [1.0, 2.0, 4.0, 0.5], [10, 10, 7, 2], [40, 41, 20, 9])
    assert found == RowLosses((3.5, 4.0), (22, 7), (90, 20))


def test_losses_are_read_as_they_were_written(tmp_path: Path) -> None:
    for losses in (RowLosses((0.1 + 0.2, math.nan), (3, 4)), RowLosses((1.5,), (3,), (9,))):
        losses.save(tmp_path / "eval" / "losses.json")
        found = load(tmp_path / "eval" / "losses.json")
        assert found is not None
        assert str(found) == str(losses)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"nats": [1], "tokens": [1, 2]}', '{"nats": "x"}', '{"nats": [null]}']
)
def test_damaged_losses_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "losses.json").write_text(text)
    assert load(tmp_path / "losses.json") is None
    assert load(tmp_path / "missing.json") is None


def test_losses_over_other_rows_are_not_compared() -> None:
    one, other = RowLosses((1.0,) * 8, (4,) * 8, (9,) * 8), RowLosses((1.0,) * 8, (4,) * 7 + (5,), (9,) * 7 + (8,))
    assert loss_change(one, other) is None
    assert bits_change(one, other) is None
    assert loss_change(one, RowLosses((math.inf,) * 8, (4,) * 8)) is None


def test_the_change_of_a_loss_is_in_nats_a_token_and_in_bits_a_byte() -> None:
    base = RowLosses(tuple(float(place) for place in range(1, 9)), (4,) * 8, (16,) * 8)
    tuned = RowLosses(tuple(float(place) - 0.5 for place in range(1, 9)), (4,) * 8, (16,) * 8)
    loss, bits = loss_change(base, tuned), bits_change(base, tuned)
    assert loss is not None
    assert bits is not None
    assert (loss.change, loss.low, loss.high) == pytest.approx((-0.125, -0.125, -0.125))
    assert bits.change == pytest.approx(-0.5 / math.log(2) / 16)
    assert json.dumps(loss.test.p) == "0.0078125"
