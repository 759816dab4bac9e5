"""clients/trigger_inference.py through a pooler in transaction mode."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.demo.database import Database
from tests.clients.command import FAST, ran
from tests.clients.door import Door, Hold
from tests.clients.scraped import scraped
from tests.support.pgbouncer import pooled
from tests.support.postgres import Candidates
from tests.support.process import LIMIT_S

SCRIPT = "trigger_inference.py"


def test_rows_are_locked_and_scored_once_through_a_pooler(
    database: Database, door: Door, candidates: Candidates, tmp_path: Path
) -> None:
    """Two runs on two shared server connections score 22 rows once; Prisma's option is no obstacle."""
    candidates.add(scraped(22))
    first, second = Hold(), Hold()
    door.plan += [first, second]
    with pooled(database) as url, ThreadPoolExecutor(2) as pool:
        settings = {"DATABASE_URL": f"{url}?pgbouncer=true", "INFERENCE_API_URL": door.url}
        runs = [
            pool.submit(ran, SCRIPT, *FAST, "--batch", "3", folder=tmp_path, **settings) for _ in range(2)
        ]
        assert first.reached.wait(LIMIT_S)
        assert second.reached.wait(LIMIT_S)
        first.release.set()
        second.release.set()
        outputs = [run.result() for run in runs]
        # Whatever a run had left on a server connection, the next run would stumble over.
        candidates.add([{**row, "title": "later"} for row in scraped(2)])
        outputs.append(ran(SCRIPT, *FAST, folder=tmp_path, **settings))
    assert [run.returncode for run in outputs] == [0, 0, 0], outputs
    assert sorted(door.titles()) == sorted([*(row["title"] for row in scraped(22)), "later", "later"])
    assert candidates.written_more_than_once() == 0
