from __future__ import annotations

from pathlib import Path

import pytest

from finetune_core.hardware import cgroup, host


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slurm/job_7\n",
            "sys/fs/cgroup/slurm/job_7/memory.max": "max\n",
            "sys/fs/cgroup/slurm/memory.max": "8000\n",
            "sys/fs/cgroup/slurm/memory.current": "5000\n",
            "sys/fs/cgroup/slurm/memory.stat": "anon 1\ninactive_file 1500\n",
            "sys/fs/cgroup/memory.max": "90000\n",
        },
    )
    assert cgroup.memory(root) == (8000, 3500)


def test_version_2_inside_a_container_reads_the_mounts_top(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "4096\n",
            "sys/fs/cgroup/memory.current": "96\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
        },
    )
    assert cgroup.memory(root) == (4096, 96)
    assert cgroup.cores(root) == 2


def test_version_1_is_read_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/memory.stat": "cache 5\ntotal_inactive_file 400\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup.memory(root) == (9000, 600)
    assert cgroup.cores(root) == 3


def test_no_limit_is_none(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n3:cpu:/\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
        },
    )
    assert cgroup.memory(root) is None
    assert cgroup.cores(root) is None


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert cgroup.memory(tmp_path) is None
    assert cgroup.cores(tmp_path) is None


def test_the_hosts_memory_is_what_its_container_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "memory", lambda: (1000, 400))
    assert host.host_memory_now() == (1000, 600)


def test_the_hosts_cores_are_what_its_quota_pays_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "cores", lambda: 1)
    assert host.look_at_host().cores == 1
