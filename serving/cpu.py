"""The number of CPUs this process may use: affinity and the container's cgroup quota.

A container with a quota of two CPUs on a 64-core host sees 64 cores; 64 threads would compete for two.
"""

import os
from pathlib import Path

CGROUP_MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(mount: Path = CGROUP_MOUNT, membership: Path = MEMBERSHIP) -> int:
    """Whole CPUs that affinity and all cgroups of this process allow, at least 1."""
    allowed = float(len(os.sched_getaffinity(0)))
    for quota in _quotas(mount, membership):
        allowed = min(allowed, quota)
    return max(int(allowed), 1)


def _quotas(mount: Path, membership: Path) -> list[float]:
    """The quotas that apply, in CPUs; a group's limit also applies to the groups below it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    quotas: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            quotas += [_v2_quota(group) for group in _groups_up(mount, path)]
        elif "cpu" in controllers.split(","):
            quotas += [_v1_quota(group) for group in _groups_up(mount / "cpu", path)]
            quotas += [_v1_quota(group) for group in _groups_up(mount / controllers, path)]
    return quotas


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


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
