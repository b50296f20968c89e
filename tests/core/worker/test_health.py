"""What looks wrong is told when it begins, once, and what looks right is not."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from finetune_core.hardware.meter import GpuMeter, GpuReading
from finetune_core.worker.checkpoints.early_stopping import Best
from finetune_core.worker.training.health import Health, StepFigures
from tests.fakes import GIB, FakeGpu, FakeNvml


class Patient:
    """A run's health, and what was told of it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.words: list[str] = []
        self.health = Health(self._hear)

    def _hear(self, name: str, words: str) -> None:
        self.told.append(name)
        self.words.append(words)

    def steps(
        self,
        losses: Iterable[float],
        *,
        speed: float = 1000.0,
        gradient: float | None = 1.0,
        trained: int | None = 10,
        memory: int | None = None,
    ) -> None:
        for loss in losses:
            self.health.step(StepFigures(loss, gradient, speed, trained, memory))


@pytest.fixture
def patient() -> Patient:
    return Patient()


def test_an_ordinary_run_is_told_nothing(patient: Patient) -> None:
    chance = random.Random(1)
    for step in range(1000):
        figures = StepFigures(2 / (step + 1) + 0.1, 1.0, chance.uniform(700, 1300), 100, chance.randrange(4, 6) * GIB)
        patient.health.step(figures)
        if step % 50 == 0:
            patient.health.evaluated(2 / (step + 1) + 0.3)
    assert patient.told == []


@pytest.mark.parametrize(
    ("loss", "gradient", "trained", "name"),
    [
        (math.nan, 1.0, 10, "loss_not_finite"),
        (math.inf, 1.0, 10, "loss_not_finite"),
        (0.0, 1.0, 10, "loss_zero"),
        (1.0, 0.0, 10, "no_gradient"),
        (0.0, 0.0, 0, "nothing_trained"),
    ],
)
def test_a_step_that_teaches_nothing_is_told_once_each_time_it_begins(
    loss: float, gradient: float, trained: int, name: str, patient: Patient
) -> None:
    patient.steps([1.0])
    patient.steps([loss] * 3, gradient=gradient, trained=trained)
    assert patient.told == [name]
    patient.steps([1.0])
    patient.steps([loss], gradient=gradient, trained=trained)
    assert patient.told == [name, name]


def test_losses_that_are_no_numbers_are_counted_in_a_row(patient: Patient) -> None:
    patient.steps([math.nan, math.nan, 1.0, math.nan])
    assert patient.health.bad_in_a_row == 1


def test_a_collapse_of_the_speed_is_told_and_its_return_allows_another(patient: Patient) -> None:
    patient.steps([1.0] * 60, speed=3000)
    patient.steps([1.0] * 9, speed=1000)
    assert patient.told == []
    patient.steps([1.0] * 20, speed=1000)
    assert patient.told == ["slow"]
    assert "1,000 tokens/s" in patient.words[0]
    assert "3,000 were usual" in patient.words[0]
    patient.steps([1.0] * 40, speed=3000)
    patient.steps([1.0] * 40, speed=1000)
    assert patient.told == ["slow", "slow"]


def test_memory_that_only_grows_is_told_and_memory_that_breathes_is_not(patient: Patient) -> None:
    for step in range(600):
        patient.steps([1.0], memory=4 * GIB + (step % 40) * GIB // 10)
    assert patient.told == []
    for step in range(600):
        patient.steps([1.0], memory=4 * GIB + step * GIB // 100)
    assert patient.told == ["memory_creep"]


def test_a_held_out_loss_that_rises_while_the_training_loss_falls_is_told(patient: Patient) -> None:
    for number, held_out in enumerate([1.0, 0.8, 0.85, 0.9, 0.95]):
        patient.steps([1.0 / (number + 1)] * 10)
        patient.health.evaluated(held_out)
    assert patient.told == ["overfitting"]
    assert "best 0.8000, now 0.9500" in patient.words[0]


def test_a_held_out_loss_that_rises_with_the_training_loss_is_no_learning_by_heart(patient: Patient) -> None:
    for number, held_out in enumerate([0.8, 0.85, 0.9, 0.95]):
        patient.steps([1.0 + number] * 10)
        patient.health.evaluated(held_out)
    assert patient.told == []


def test_a_full_disk_is_told_until_there_is_room(patient: Patient) -> None:
    for words in ("filling up", "filling up", None, "filling up"):
        patient.health.disk(words)
    assert patient.told == ["disk_filling", "disk_filling"]


def reading(used_gib: float, throttled: str | None = None, others: str = "") -> GpuReading:
    return GpuReading(0, "GPU-0", int(used_gib * GIB), 80 * GIB, 50, 91, 300.0, throttled, others)


def test_another_process_that_takes_memory_of_the_gpu_is_told_with_whose_it_is(patient: Patient) -> None:
    patient.health.gpus([reading(20)], 18 * GIB)
    patient.health.gpus([reading(30)], 28 * GIB)
    assert patient.told == []
    patient.health.gpus([reading(42, others="train.py 4711 of alice")], 28 * GIB)
    assert patient.told == ["gpu_shared:0"]
    assert "train.py 4711 of alice" in patient.words[0]
    assert "12.0 GiB" in patient.words[0]


def test_a_gpu_that_is_slowed_down_is_told_with_the_reason(patient: Patient) -> None:
    patient.health.gpus([reading(20, throttled="too hot")], 18 * GIB)
    assert patient.words == ["GPU 0 is slowed down by its driver at 91 °C: too hot"]


def test_the_meter_reads_what_slows_a_gpu_down_and_names_others_where_it_sees_itself() -> None:
    import os

    gpu = FakeGpu(throttled="too hot", processes=((os.getpid(), GIB), (1, 2 * GIB)))
    (found,) = GpuMeter([gpu.uuid], FakeNvml(gpu)).read()
    assert found.throttled == "too hot"
    assert " 1 of " in found.others
    outside = FakeGpu(processes=((1, 2 * GIB),))
    (found,) = GpuMeter([outside.uuid], FakeNvml(outside)).read()
    assert found.others == ""


def test_patience_counts_measurements_without_a_better_one() -> None:
    best = Best(2)
    assert [best.measured(step, loss) for step, loss in ((5, 1.0), (10, 0.8), (15, 0.9))] == [True, True, False]
    assert not best.used_up
    again = Best(2)
    again.restore(best.notes())
    assert not again.measured(20, 0.8)
    assert again.used_up
    assert (again.step, again.loss) == (10, 0.8)


def test_without_patience_nothing_is_kept_or_stopped() -> None:
    best = Best(None)
    assert not best.measured(5, 1.0)
    assert not best.used_up
    assert best.notes() == {}
