"""Scores the rows of a file, batch by batch."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from miles_client.files.columns import Columns, requests_of
from miles_client.files.finished import Finished
from miles_client.files.progress import Progress
from miles_client.files.results import image_of, result_of
from miles_client.files.tables import Cells, Table
from miles_client.service import TRIES, Patience, Refusal, Score, Service, Unavailable
from miles_client.stop import StopSignals

# Reasons for a failed thumbnail that may no longer apply a minute later.
PASSING_REASON = re.compile(r"timeout|unreachable|truncated|unavailable|http_(429|5\d\d)")


class Scoring:
    """Scores each video of a batch, or finds out why it can't be scored, retrying as needed."""

    def __init__(self, service: Service, patience: Patience, stop: StopSignals, progress: "Progress") -> None:
        self._service, self._patience, self._stop, self._progress = service, patience, stop, progress
        self._scored = False

    def __call__(self, videos: Sequence[Cells]) -> list[Score | Refusal]:
        """Outcomes in the order of `videos`. Raises `Unavailable`, or `Stopped` on a signal."""
        settled: dict[int, Score | Refusal] = {}
        tries = dict.fromkeys(range(len(videos)), 0)
        while waiting := sorted(tries.keys() - settled.keys(), key=lambda index: (tries[index], index)):
            before, trouble = len(settled), None
            try:
                with self._stop.interruptible():
                    for position, outcome in self._service.score([videos[index] for index in waiting]):
                        index = waiting[position]
                        tries[index] += not isinstance(outcome, Unavailable) or outcome.suspect
                        if not isinstance(outcome, Unavailable):
                            settled[index] = outcome
                            self._scored |= isinstance(outcome, Score)
                        elif tries[index] >= TRIES and self._scored:
                            settled[index] = Refusal(f"no answer in {TRIES} tries; {outcome}")
                        else:
                            trouble = outcome
            except Unavailable as exc:
                trouble = exc
            if len(settled) > before:
                self._patience.reset()
            if trouble is not None:
                self._service.ask_singly(len(videos) if trouble.suspect else 0)
                wait = self._patience.wait_s(trouble)
                self._progress.note(f"waiting {wait:.0f} s for the service: {trouble}")
                self._stop.sleep(wait)
        return [settled[index] for index in range(len(videos))]


@dataclass(frozen=True)
class ImageRules:
    """How often to score rows again whose thumbnail may load later, and whether a thumbnail is required."""

    retries: int
    wait_s: float
    is_required: bool


def with_images(
    scoring: Scoring, videos: Sequence[Cells], rules: ImageRules, stop: StopSignals
) -> list[Score | Refusal]:
    """The outcome of each video; those whose thumbnail may load later are scored again after a wait."""
    outcomes = scoring(videos)
    for attempt in range(rules.retries):
        again = [
            index
            for index, outcome in enumerate(outcomes)
            if image_of(outcome).get("state") == "failed"
            and PASSING_REASON.fullmatch(str(image_of(outcome).get("reason")))
        ]
        if not again:
            break
        stop.sleep(rules.wait_s * 2**attempt)
        for index, outcome in zip(again, scoring([videos[index] for index in again]), strict=True):
            outcomes[index] = outcome if isinstance(outcome, Score) else outcomes[index]
    if not rules.is_required:
        return outcomes
    return [_required(outcome) for outcome in outcomes]


def _required(outcome: Score | Refusal) -> Score | Refusal:
    image = image_of(outcome)
    if isinstance(outcome, Refusal) or (image.get("state") == "used" and not image.get("reason")):
        return outcome
    return Refusal(f"no usable thumbnail: {image.get('reason') or image.get('state')}")


def score_rest(
    table: Table,
    columns: Columns,
    finished: Finished,
    score: Callable[[Sequence[Cells]], Sequence[Score | Refusal]],
    size: int,
    total: int,
) -> Iterator[int]:
    """Score the remaining rows up to `total`; yields the number of rows finished by each call."""
    rest = itertools.islice(table.rows(), finished.count, total)
    while some := list(itertools.islice(rest, size)):
        requests = list(requests_of(some, columns))
        scores = iter(score([video for video in requests if not isinstance(video, Refusal)]))
        outcomes = (video if isinstance(video, Refusal) else next(scores) for video in requests)
        finished.add(result_of(outcome) for outcome in outcomes)
        yield len(some)
