"""clients/trigger_inference.py through a pooler in transaction mode."""

from functools import partial

from deploy.demo.database import Database
from tests.clients.command import Trigger
from tests.clients.door import Door, two_at_once
from tests.clients.scraped import scraped
from tests.support.pgbouncer import pooled
from tests.support.postgres import Candidates


def test_rows_are_locked_and_scored_once_through_a_pooler(
    database: Database, trigger: Trigger, door: Door, candidates: Candidates
) -> None:
    """Two runs on two shared server connections score 22 rows once; Prisma's option does not matter."""
    candidates.add(scraped(22))
    with pooled(database) as url:
        pooled_trigger = partial(trigger, DATABASE_URL=f"{url}?pgbouncer=true")
        outputs = two_at_once(door, partial(pooled_trigger, "--batch", "3"))
        # Anything that a run had left on a server connection would break the next run.
        candidates.add([{**row, "title": "later"} for row in scraped(2)])
        outputs.append(pooled_trigger())
    assert [run.returncode for run in outputs] == [0, 0, 0], outputs
    assert sorted(door.titles()) == sorted([*(row["title"] for row in scraped(22)), "later", "later"])
    assert candidates.written_more_than_once() == 0
