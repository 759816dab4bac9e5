"""One run: claim rows, score them, write the scores, report."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from miles_client.service import TRIES, Outcome, Patience, Refusal, Row, Score, Service, Unavailable
from miles_client.settings import DONE, NO_DATABASE, ROWS_LEFT
from miles_client.stop import Stopped, StopSignals
from miles_client.table.postgres import Postgres
from miles_client.table.postgrest import PostgREST
from miles_client.table.report import Report
from miles_client.table.store import KEPT, DatabaseLost, video_of

Store = Postgres | PostgREST


@dataclass
class Run:
    """Scores at most `limit` rows: claim, score, write, report."""

    store: Store
    service: Service
    patience: Patience
    stop: StopSignals
    report: Report
    limit: int
    batch: int
    dry_run: bool
    kept_before: frozenset[str] = frozenset()
    """Rows whose scores the database did not accept in earlier rounds of --watch."""

    def __post_init__(self) -> None:
        self.scored = 0
        self.elsewhere: set[str] = set()  # rows that another run has scored or removed meanwhile
        self.left: dict[str, str] = {}  # skipped rows, with the reason
        self.kept: set[str] = set()  # rows whose scores the database does not accept
        self.warned = 0  # rows scored with warnings
        self.images = Counter[str]()  # rows scored without a usable thumbnail, by reason
        self._later: set[str] = set()  # rows without an answer, retried after all others
        self._tries: dict[str, int] = {}
        self._dry: set[str] = set()  # rows that a dry run has scored
        self._found = False

    def until_done(self) -> int:
        """Run to the end and return the exit code; raises what ends the run early."""
        self.service.with_shadow = self._retried(self.store.keeps) and not self.dry_run
        self.report.start(min(self.limit, self._retried(self.store.pending)))
        while not self._is_full() and self.stop.number is None:
            trouble = self._retried(self._next_rows)
            if trouble is not None:
                wait = self.patience.wait_s(trouble)
                self.report.note(f"waiting {wait:.0f} s for the service: {trouble}")
                self.stop.sleep(wait)
            elif not self._found and not self._later:
                if not self.dry_run:
                    self._keep(self._retried(lambda: self.store.kept(self.limit, self._skipped())))
                break
            elif not self._found:
                self.service.ask_singly(len(self._later))
                self._later.clear()
        if self.kept:
            return NO_DATABASE
        return ROWS_LEFT if self.left else DONE

    def _is_full(self) -> bool:
        """Whether the limit is reached: by scored rows or, if there are none, by rows kept unscored."""
        return self.scored >= self.limit or (not self.scored and len(self.kept) >= self.limit)

    def _skipped(self) -> set[str]:
        tried = self._later | self._dry | self.kept | self.elsewhere
        return tried | self.kept_before | self.left.keys()

    def summary(self) -> str:
        """A one-line summary."""
        verb = "would be scored" if self.dry_run else "scored"
        parts = [f"{self.scored} {verb}", f"{len(self.left)} skipped"]
        if self._later:
            parts.append(f"{len(self._later)} without an answer")
        if self.elsewhere:
            parts.append(f"{len(self.elsewhere)} scored by another run or removed")
        if self.kept:
            parts.append(f"{len(self.kept)} kept unscored by the database")
        if self.warned:
            parts.append(f"{self.warned} with warnings")
        if self.images:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.images.most_common(10))
            parts.append(f"{self.images.total()} without a usable thumbnail ({reasons})")
        return ", ".join(parts)

    def _retried(self, work: Callable[[], Any]) -> Any:
        """Run `work`, retrying while the database does not answer."""
        for wait in (*self.patience.waits_s[:3], None):
            try:
                return work()
            except DatabaseLost as exc:
                asked = exc.retry_after_s or 0
                if wait is None or asked > self.patience.total_s:
                    raise
                wait = max(wait, asked)
                self.report.note(f"waiting {wait:.0f} s for the database: {exc}")
                self.stop.sleep(wait)
        return None

    def _next_rows(self) -> Unavailable | None:
        """Score one call's worth of rows; returns why the service did not answer, if so."""
        size = min(self.batch, self.limit - self.scored)
        with self.store.claim(size, self._skipped()) as claim:
            outcomes, trouble = self._ask(claim.rows)
            scores = {row: outcome for row, outcome in outcomes.items() if isinstance(outcome, Score)}
            written = dict(scores) if self.dry_run else claim.write(scores) if scores else {}
        for name in scores.keys() - written.keys():
            del outcomes[name]  # still unscored, so the next claim finds it
        self._found = bool(claim.rows)
        if claim.lacking:
            self.report.once(f"no column for {', '.join(claim.lacking)}: unknown (--column NAME=COLUMN)")
        for row in claim.rows:  # reported only after the commit
            if row["id"] in outcomes:
                self._settle(row, written[row["id"]] if row["id"] in scores else outcomes[row["id"]])
        self._keep([row for row in claim.rows if row["id"] in written and not written[row["id"]]])
        if written:
            self.patience.reset()
        return trouble

    def _keep(self, rows: Sequence[Row]) -> None:
        """Check rows that were not updated: another run scored them, or the database keeps them unscored."""
        unscored = self._retried(lambda: self.store.unscored(rows)) if rows else set()
        self.elsewhere |= {row["id"] for row in rows} - unscored
        for row in rows:
            if row["id"] in unscored:
                self.kept.add(row["id"])
                self.report.left(row, KEPT)

    def _ask(self, rows: Sequence[Row]) -> tuple[dict[str, Outcome], Unavailable | None]:
        outcomes: dict[str, Outcome] = {}
        trouble = None
        try:
            with self.stop.interruptible():
                for index, outcome in self.service.score([video_of(row) for row in rows]) if rows else ():
                    outcomes[rows[index]["id"]] = outcome
        except Unavailable as exc:
            trouble = exc
        except Stopped:
            pass  # what arrived is written; `until_done` sees the signal
        lost = [outcome for outcome in outcomes.values() if isinstance(outcome, Unavailable)]
        if trouble is None and lost and len(lost) == len(outcomes):
            trouble = lost[0]
        return outcomes, trouble

    def _settle(self, row: Row, outcome: Outcome | None) -> None:
        name = row["id"]
        match outcome:
            case None:
                self._later.discard(name)  # `_keep` looks at it again
            case Score():
                self.scored += 1
                self.warned += bool(outcome.answer.get("warnings"))
                self.images.update([outcome.unusable_image] if outcome.unusable_image else [])
                self._dry |= {name} if self.dry_run else set()
                self._later.discard(name)
                self.report.scored(row, outcome)
            case Refusal(reason):
                self._give_up(row, reason)
            case Unavailable(suspect=True):
                self._later.add(name)
                self._tries[name] = self._tries.get(name, 0) + 1
                # Until something has been scored, the cause is the service and not the row.
                if self._tries[name] >= TRIES and self.scored:
                    self._give_up(row, f"no answer in {TRIES} tries; {outcome}")

    def _give_up(self, row: Row, reason: str) -> None:
        self._later.discard(row["id"])
        self.left[row["id"]] = reason
        self.report.left(row, reason)
