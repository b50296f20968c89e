"""The plan against what other projects measured: the points and their sources are in tests/bench/published.json."""

from __future__ import annotations

import statistics

from tests.bench.published import by_stack, memory, published, speeds, verdicts

_SAME_KIND = ("torchtune", "Axolotl, fused loss", "PEFT, no checkpointing", "LLaMA-Factory, HF and FA2", "litgpt LoRA")


def test_speeds_agree_with_what_was_published() -> None:
    points = list(speeds())
    ratios = [1 + point.error for point in points]
    assert len(points) >= 45
    assert 0.9 <= statistics.median(ratios) <= 1.1
    assert sum(point.inside for point in points) >= 0.9 * len(points)
    assert min(ratios) > 0.5
    assert max(ratios) < 2


def test_no_kind_of_stack_is_off_as_a_whole() -> None:
    for stack, points in by_stack(speeds()).items():
        assert 0.75 <= statistics.median(1 + point.error for point in points) <= 1.33, stack


def test_what_fitted_fits_and_what_ran_out_of_memory_does_not() -> None:
    found = list(verdicts())
    assert len(found) == 13
    for row, need, there in found:
        assert (need <= there) == row["fits"], row["configuration"]


def test_memory_agrees_with_what_was_published_once_other_stacks_parts_are_counted() -> None:
    stacks = by_stack(memory())
    for stack in _SAME_KIND:
        assert abs(statistics.median(point.explained_error for point in stacks[stack])) <= 0.12, stack
    every = [abs(point.explained_error) for points in stacks.values() for point in points]
    assert statistics.median(every) <= 0.1


def test_every_point_names_its_source() -> None:
    names = tuple(published()["sources"])
    for kind in ("memory", "speed", "verdicts"):
        for row in published()[kind]:
            assert row["source"].startswith(names), row["source"]
