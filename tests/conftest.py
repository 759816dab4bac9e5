"""What all tests share: the tiny checkpoint, compiled once per run, and which tests may run side by side.

`make test` runs them in three pytest-xdist workers: with two, one often waits and leaves a core idle. A group
of tests stays in one worker, where its fixtures are made once: a module, or several modules that use the same
expensive resource.
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.database import Database
from tests.support.postgres import postgres

# By default torch computes in one thread, here and in the processes that tests start: on tiny networks
# several threads mostly wait for each other. Waiting threads sleep: those that spin take cores
# from other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell's background job ignores SIGINT, and one under nohup ignores SIGHUP; the processes that the tests
# signal would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The slowest groups and modules come first, so that no worker is left with one at the end. The modules of a
# group are listed together, in the order in which they run: test_nextjs installs and builds what test_demo
# starts.
GROUPS = {
    "e2e/test_demo.py": "demo",
    "e2e/test_quota.py": "demo",
    "scale/": "ray",
    "deploy/ray/": "ray",
    "model/compile/": "compile",
    "model/compiled/": "compile",
    "clients/test_nextjs": "nextjs",
    "clients/test_demo.py": "nextjs",
    "page/": "page",
    "owner/": "first file",
    "clients/test_t": "trigger",
    "clients/": "clients",
    "serving/lifecycle/test_reload.py": "reload",
    "training/report/": "report",
    "training/measure/": "report",
    "training/test_evaluate.py": "report",
    "training/outcomes/": "outcomes",
    "deploy/test_commands.py": "commands",
    "test_miles.py": "commands",
    "deploy/test_install.py": "commands",
    "benchmarks/test_peers.py": "peers",
    "training/test_proof.py": "proof",
    "serving/observability/test_logs.py": "logs",
    "serving/lifecycle/test_shadow.py": "shadow",
    "serving/process/test_server.py": "processes",
    "serving/lifecycle/test_lifecycle.py": "processes",
    "serving/lifecycle/test_pin.py": "processes",
    "serving/scoring/test_shared_cache.py": "processes",
    "model/test_demo.py": "committed demo",
    "model/checkpoint/": "checkpoints",
    "training/test_unfreeze.py": "tuning",
    "training/test_learn.py": "tuning",
}


def place_of(nodeid: str) -> tuple[int, str]:
    """The place of a test's module in `GROUPS`, or the place after the last, and the name of its group."""
    module = nodeid.partition("::")[0].removeprefix("tests/")
    found = ((place, name) for place, (start, name) in enumerate(GROUPS.items()) if module.startswith(start))
    return next(found, (len(GROUPS), module))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hands out whole groups, in collection order."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return place_of(nodeid)[1]

    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: place_of(item.nodeid)[0])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, with its float32 bundle next to it; the first worker makes both for all."""
    # Imported here, because the process that only hands out tests needs neither torch nor OpenVINO.
    from model.compile.__main__ import compile_checkpoint
    from tests.support.tiny import write_tiny

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.pt"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_tiny(path)
        compile_checkpoint(path, precision="f32", threads=1)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tiny_path: Path) -> Path:
    from model.compile.__main__ import compile_checkpoint

    return compile_checkpoint(tiny_path, precision="f32", threads=1).directory


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A PostgreSQL server; `separate` gives a test module a database of its own on it."""
    with postgres() as running:
        yield running
