from __future__ import annotations

import os
import subprocess
import sys

from finetune_core.hardware.meter import GpuMeter, host_memory
from tests.fakes import GIB, FakeGpu, FakeNvml


def test_each_reading_is_of_that_moment() -> None:
    gpu = FakeGpu()
    nvml = FakeNvml(gpu)
    meter = GpuMeter([gpu.uuid], nvml)
    assert [reading.memory_used for reading in meter.read()] == [GIB]
    nvml.change(gpu.uuid, memory_free=30 * GIB, utilisation=99)
    (reading,) = meter.read()
    assert (reading.memory_used, reading.memory_total, reading.utilisation) == (50 * GIB, 80 * GIB, 99)


def test_gpus_are_read_in_the_order_asked_for_and_lost_ones_left_out() -> None:
    first, second = FakeGpu(0), FakeGpu(1)
    meter = GpuMeter([second.uuid, "GPU-gone", first.uuid], FakeNvml(first, second))
    assert [reading.index for reading in meter.read()] == [1, 0]


def test_a_figure_the_driver_does_not_give_is_none() -> None:
    gpu = FakeGpu(memory_free=None, power_watts=None)
    (reading,) = GpuMeter([gpu.uuid], FakeNvml(gpu)).read()
    assert (reading.memory_used, reading.power_watts, reading.temperature) == (None, None, 41)


def test_without_a_driver_nothing_is_read() -> None:
    assert GpuMeter(["GPU-1"], FakeNvml(broken="none")).read() == ()


def test_a_cpu_run_does_not_open_the_driver() -> None:
    nvml = FakeNvml(FakeGpu())
    assert GpuMeter([], nvml).read() == ()
    assert nvml.opened == 0


def test_a_process_that_is_gone_holds_no_memory() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert host_memory(gone.pid)[0] == 0
    resident, total = host_memory(os.getpid())
    assert 0 < resident < total
