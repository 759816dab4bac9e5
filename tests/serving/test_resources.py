"""How many CPUs and how much memory a container may really use, on recorded cgroup files."""

import os
from pathlib import Path

import pytest

from serving.resources import free_memory, usable_cpus

AFFINITY = len(os.sched_getaffinity(0))


def cgroup(tmp_path: Path, membership: str, **files: str) -> dict[str, Path]:
    """Recorded files below a mount point; `__` in a name separates directories."""
    for name, content in files.items():
        file = (
            tmp_path
            / "cgroup"
            / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    (tmp_path / "self").write_text(membership + "\n")
    return {"mount": tmp_path / "cgroup", "membership": tmp_path / "self"}


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("190000 100000", 1),
        ("max 100000", AFFINITY),
        ("", AFFINITY),
    ],
)
def test_v2_quota_is_rounded_down_to_whole_cpus(tmp_path: Path, quota: str, cpus: int) -> None:
    """cgroup v2: `cpu.max` holds quota and period, or `max`; never fewer than one CPU."""
    assert usable_cpus(**cgroup(tmp_path, "0::/", cpu_max=quota)) == cpus


def test_v2_limit_of_a_parent_holds(tmp_path: Path) -> None:
    """cgroup v2: the limit of a parent of this process's group applies too."""
    files = cgroup(
        tmp_path,
        "0::/kubepods/pod7/box",
        kubepods__pod7__cpu_max="100000 100000",
        kubepods__pod7__box__cpu_max="max 100000",
    )
    assert usable_cpus(**files) == 1


@pytest.mark.parametrize(("quota", "cpus"), [("100000", 1), ("-1", AFFINITY)])
def test_v1_quota_is_read(tmp_path: Path, quota: str, cpus: int) -> None:
    files = cgroup(
        tmp_path, "4:cpu,cpuacct:/docker/abc", cpu__cpu_cfs_quota_us=quota, cpu__cpu_cfs_period_us="100000"
    )
    assert usable_cpus(**files) == cpus


def test_quota_above_affinity_changes_nothing(tmp_path: Path) -> None:
    """A quota of 64 CPUs on a smaller machine leaves what affinity allows."""
    assert usable_cpus(**cgroup(tmp_path, "0::/", cpu_max="6400000 100000")) == AFFINITY


def test_machine_without_cgroups_uses_affinity(tmp_path: Path) -> None:
    """Without cgroup files, affinity alone counts."""
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == AFFINITY


MEGABYTE = 1_000_000
STAT = "inactive_file 30000000\nactive_file 20000000\nanon 500000000"


@pytest.mark.parametrize(
    ("membership", "files", "free"),
    [
        ("0::/", {"memory.max": "700000000", "memory.current": "600000000", "memory.stat": STAT}, 150),
        ("0::/", {"memory.max": "max", "memory.current": "600000000", "memory.stat": STAT}, 2048),
        (
            "0::/pod/box",
            {
                "pod/memory.max": "900000000",
                "pod/memory.current": "850000000",
                "pod/box/memory.max": "max",
                "pod/box/memory.current": "10000000",
            },
            50,
        ),
        (
            "5:memory:/docker/abc",
            {
                "memory/memory.limit_in_bytes": "700000000",
                "memory/memory.usage_in_bytes": "650000000",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 5000000\ntotal_active_file 0",
            },
            55,
        ),
        ("5:memory:/", {"memory/memory.limit_in_bytes": "100", "memory/memory.usage_in_bytes": "200"}, 0),
    ],
)
def test_memory_that_a_limit_leaves(
    tmp_path: Path, membership: str, files: dict[str, str], free: int
) -> None:
    """The least that the machine or any group leaves; cached pages of files count as free."""
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content + "\n")
    (tmp_path / "self").write_text(membership + "\n")
    (tmp_path / "meminfo").write_text("MemTotal: 3000000 kB\nMemAvailable: 2000000 kB\n")
    found = free_memory(tmp_path / "cgroup", tmp_path / "self", tmp_path / "meminfo")
    assert found is not None
    assert found // MEGABYTE == free


def test_memory_of_a_machine_that_does_not_say(tmp_path: Path) -> None:
    """Without the kernel's files the free memory is unknown."""
    assert free_memory(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None
