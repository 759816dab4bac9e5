"""A container's CPU quota, made with a real control group."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.service import ready_service

pytestmark = [pytest.mark.e2e, pytest.mark.hostile]
PERIOD_US = 100_000


@pytest.fixture
def one_cpu() -> Iterator[Path]:
    """The members file of a control group that may use one of the CPUs that this process sees."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a quota of one CPU shows nothing on a machine with one CPU")
    version_1, version_2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    is_version_1 = (version_1 / "cpu.cfs_quota_us").exists() or (version_1 / "cgroup.procs").exists()
    group = (version_1 if is_version_1 else version_2) / f"miles-test-{os.getpid()}"
    try:
        group.mkdir()
        if is_version_1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(PERIOD_US))
        else:
            (group / "cpu.max").write_text(f"{PERIOD_US} {PERIOD_US}")
    except OSError as exc:
        if group.exists():
            group.rmdir()
        pytest.skip(f"control groups cannot be made here ({exc.strerror}); root can, outside a container")
    yield group / "cgroup.procs"
    group.rmdir()


def test_a_quota_of_one_cpu_gets_one_thread(one_cpu: Path, bundle: Path, tmp_path: Path) -> None:
    """A service that may use one CPU of several runs its forwards in one thread, and says so."""
    before = os.getpid()
    own = Path("/proc/self/cgroup").read_text()
    home = home_of(own, one_cpu)
    one_cpu.write_text(str(before))  # processes started from here are members, too
    try:
        with ready_service(tmp_path / "service.log", checkpoint=bundle) as service:
            home.write_text(str(before))
            engine = httpx.get(f"{service.url}/model/info").json()["engine"]
    finally:
        home.write_text(str(before))
    assert engine["threads"] == 1


def home_of(memberships: str, members: Path) -> Path:
    """The members file of the group that this process came from, in the same hierarchy."""
    root = members.parent.parent
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if (root.name == "cpu" and "cpu" in controllers.split(",")) or (
            root.name != "cpu" and not controllers
        ):
            return root / path.strip("/") / "cgroup.procs"
    return root / "cgroup.procs"
