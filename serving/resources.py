"""The resources that this process may use: CPUs by affinity and cgroup quota, memory by cgroup limit.

A container with a quota of two CPUs on a 64-core host sees 64 cores; 64 threads would compete for two.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def usable_cpus(mount: Path = CGROUP_MOUNT, membership: Path = MEMBERSHIP) -> int:
    """Whole CPUs that affinity and all cgroups of this process allow, at least 1."""
    quotas = [
        _v2_quota(group) if version == 2 else _v1_quota(group)
        for version, group in _groups(mount, membership, "cpu")
    ]
    return max(int(min([float(len(os.sched_getaffinity(0))), *quotas])), 1)


def free_memory(
    mount: Path = CGROUP_MOUNT, membership: Path = MEMBERSHIP, meminfo: Path = MEMINFO
) -> int | None:
    """Bytes that this process may still take, without swap; None where the kernel doesn't say.

    The minimum of what the machine and every cgroup of this process have left. Cached pages of files count as
    free, because the kernel gives them up first.
    """
    left = [1024 * _counts(meminfo)["MemAvailable:"]] if "MemAvailable:" in _counts(meminfo) else []
    for version, group in _groups(mount, membership, "memory"):
        names = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
        limit, used = (_read(group / f"memory.{name}") for name in names)
        if limit.isdigit() and used.isdigit():  # "max" means no limit
            counts, prefix = _counts(group / "memory.stat"), "" if version == 2 else "total_"
            cached = sum(counts.get(f"{prefix}{name}_file", 0) for name in ("active", "inactive"))
            left.append(max(int(limit) - int(used) + cached, 0))
    return min(left, default=None)


def _groups(mount: Path, membership: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The cgroups that may limit this process, and their version; a group's limit also applies below it."""
    for line in _read(membership).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            yield from ((2, group) for group in _groups_up(mount, path))
        elif controller in controllers.split(","):
            for folder in {controller, controllers}:
                yield from ((1, group) for group in _groups_up(mount / folder, path))


def _groups_up(root: Path, path: str) -> list[Path]:
    """The group's directory and those above it; within a container, `path` may not exist under `root`."""
    groups = [root]
    for part in path.strip("/").split("/"):
        if part and part != "..":
            groups.append(groups[-1] / part)
    return groups


def _v2_quota(group: Path) -> float:
    words = _read(group / "cpu.max").split()
    if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit() or int(words[1]) == 0:
        return float("inf")
    return int(words[0]) / int(words[1])


def _v1_quota(group: Path) -> float:
    quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return float("inf")  # -1 means no limit
    return int(quota) / int(period)


def _counts(file: Path) -> dict[str, int]:
    """The numbers in a file that has one name and one number per line."""
    words = (line.split() for line in _read(file).splitlines())
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
