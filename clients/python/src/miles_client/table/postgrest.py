"""Rows over Supabase's HTTP API (PostgREST)."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx

from miles_client.errors import problem_error
from miles_client.service import Outcome, Refusal, Row, Score
from miles_client.settings import SettingError, shown
from miles_client.table.kept import predictions_of, snapshot_of, with_previous_looks
from miles_client.table.store import EXPECTED, Claim, DatabaseError, DatabaseLost, Names
from miles_client.wire import json_in, limits


class PostgREST:
    """Rows over Supabase's HTTP API, without locks: see the top of this file."""

    def __init__(self, url: str, key: str, timeout_s: float, names: Names) -> None:
        root = url.strip().rstrip("/").removesuffix("/rest/v1")
        if urlsplit(root).scheme not in ("http", "https"):
            raise SettingError(f"SUPABASE_URL: {url!r} is not a URL such as https://abcd.supabase.co")
        if key.startswith("sb_publishable_") or role_of(key) == "anon":
            raise SettingError(
                "SUPABASE_SERVICE_KEY: this is the public key, which cannot read rows; use the secret key"
            )
        schema, _, table = names.table.rpartition(".")
        self._root, self._table, self._names = f"{root}/rest/v1", table, names
        self._keeps: bool | None = None
        self._id, self._analyzed_at = names.column("id"), names.column("analyzed_at")
        self._http = httpx.Client(headers={"apikey": key}, timeout=limits(timeout_s))
        if schema:
            self._http.headers.update({"Accept-Profile": schema, "Content-Profile": schema})
        if role_of(key):  # keys of the new kind (sb_secret_...) are rejected as bearer tokens
            self._http.headers["Authorization"] = f"Bearer {key}"

    def keeps(self) -> bool:
        """Whether there are the tables of clients/database/loop.sql."""
        if self._keeps is None:
            tables = ("snapshots", "predictions")
            found = [self._ask("GET", {"limit": "1"}, table=name, may_lack=True) for name in tables]
            # A table of that name may be another's.
            self._keeps = all(
                answer.status_code == 200 and all("candidate_id" in row for row in rows_in(answer))
                for answer in found
            )
        return self._keeps

    def pending(self) -> int:
        """The number of rows without a score."""
        only = {"select": self._id, self._analyzed_at: "is.null", "limit": "1"}
        answer = self._ask("GET", only, prefer="count=exact")
        return int(answer.headers.get("Content-Range", "*/0").rpartition("/")[2])

    @contextmanager
    def claim(self, count: int, skip: set[str]) -> Iterator[Claim]:
        """The oldest rows that are not in `skip`, without a lock."""
        size = count + min(len(skip), 200)  # a long list of ids does not fit into a URL
        order = f"{self._names.column('created_at')}.asc.nullslast,{self._id}.asc"
        rows: list[Row] = []
        position = 0
        while not rows:
            only = {self._analyzed_at: "is.null", "order": order, "limit": str(size), "offset": str(position)}
            page = [self._names.row(row) for row in rows_in(self._ask("GET", only))]
            if not page:
                break
            rows = [row for row in page if row["id"] not in skip][:count]
            position += len(page)
        if rows and self._keeps:
            rows = with_previous_looks(rows, self._looks)
        each = {row["id"]: row for row in rows}
        yield Claim(rows, lambda scores: self._write(each, scores))

    def _looks(self, ids: list[str], since: str, until: str) -> list[Row]:
        found = []
        for first in range(0, len(ids), 50):  # a longer list of ids may not fit into a URL
            only = {
                "candidate_id": f"in.({quoted(ids[first : first + 50])})",
                "view_count": "not.is.null",
                "and": f'(taken_at.gte."{since}",taken_at.lte."{until}")',
            }
            found += rows_in(self._ask("GET", only, table="snapshots"))
        return found

    def kept(self, count: int, skip: set[str]) -> list[Row]:  # noqa: ARG002
        """None: without locks a row is found to be kept when its score is written."""
        return []

    def unscored(self, rows: Sequence[Row]) -> set[str]:
        """Those whose `analyzed_at` is still null."""
        found: set[str] = set()
        for first in range(0, len(rows), 50):  # a longer list of ids may not fit into a URL
            ids = {row["id"] for row in rows[first : first + 50]}
            only = {self._id: f"in.({quoted(ids)})", self._analyzed_at: "is.null", "select": self._id}
            found |= ids & {str(row[self._id]) for row in rows_in(self._ask("GET", only))}
        return found

    def _write(self, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> dict[str, Outcome | None]:
        """The predictions first: a run that dies before the score is written keeps them for the next run."""
        written: dict[str, Outcome | None] = {}
        for name, score in scores.items():
            kept = self._keep(rows[name], score) if self._keeps else score
            written[name] = self._write_one(name, kept) if isinstance(kept, Score) else kept
        return written

    def _keep(self, row: Row, score: Score) -> Score | Refusal:
        """Keep the counts and the prediction; the score of an earlier run that died with the same counts."""
        kept = predictions_of(row, score)
        added = self._add("predictions", kept)
        if isinstance(added, Refusal):
            return added
        served = kept[0]
        if served["id"] not in {each["id"] for each in added}:
            found = rows_in(self._ask("GET", {"id": f"eq.{served['id']}"}, table="predictions"))
            served = found[0] if found else served
        refused = self._add("snapshots", [snapshot_of(row) | {"taken_at": served["observed_at"]}])
        if isinstance(refused, Refusal):
            return refused
        return Score(served["viral_score"], served["predicted_velocity"], score.answer, score.request_id)

    def _add(self, table: str, rows: list[Row]) -> list[Row] | Refusal:
        """Insert rows that are not there yet; those that were inserted."""
        prefer = "resolution=ignore-duplicates,return=representation"
        answer = self._ask("POST", {}, rows, table=table, prefer=prefer, may_refuse=True)
        if answer.status_code >= 400:
            return Refusal(f"the database rejects it: {reason_of(answer)}")
        return rows_in(answer)

    def _write_one(self, row: str, score: Score) -> Outcome | None:
        values = {
            self._names.column("miles_score"): score.viral_score,
            self._names.column("predicted_velocity"): score.predicted_velocity,
            self._analyzed_at: datetime.now(UTC).isoformat(),
        }
        only = {self._id: f"eq.{row}", self._analyzed_at: "is.null", "select": self._id}
        answer = self._ask("PATCH", only, values, prefer="return=representation", may_refuse=True)
        if answer.status_code >= 400:
            return Refusal(f"the database rejects it: {reason_of(answer)}")
        return score if rows_in(answer) else None

    def _ask(
        self,
        method: str,
        only: Row,
        values: Row | list[Row] | None = None,
        *,
        table: str = "",
        prefer: str = "",
        may_refuse: bool = False,
        may_lack: bool = False,
    ) -> httpx.Response:
        url = f"{self._root}/{table or self._table}"
        try:
            answer = self._http.request(
                method,
                url,
                params=only,
                json=values,
                headers={"Prefer": prefer} if prefer else {},
            )
        except httpx.HTTPError as exc:
            raise DatabaseLost(f"SUPABASE_URL: no connection ({type(exc).__name__})") from exc
        status, reason = answer.status_code, reason_of(answer)
        if status in (401, 403):
            raise SettingError(f"SUPABASE_SERVICE_KEY: {reason}")
        if status == 429 or status >= 500:
            raise DatabaseLost(f"SUPABASE_URL: {reason}")
        if (status == 404 and not may_lack) or (status >= 300 and status != 404 and not may_refuse):
            raise DatabaseError(f"{url}: {reason}; expected {EXPECTED}")
        return answer


def rows_in(answer: httpx.Response) -> list[Row]:
    """The rows of an answer; raises `DatabaseError` for anything else, such as another server's page."""
    rows = json_in(answer)
    if not isinstance(rows, list):
        raise DatabaseError(
            f"SUPABASE_URL: {answer.request.url.host} answered {answer.status_code} without rows; "
            "expected a Supabase project's address"
        )
    return rows


def reason_of(answer: httpx.Response) -> str:
    """The database's own words, or the status."""
    body = json_in(answer)
    return shown(problem_error(body if isinstance(body, dict) else {}, answer.status_code), 300)


def quoted(ids: Sequence[str] | set[str]) -> str:
    """Ids for PostgREST's `in`."""
    return ",".join(json.dumps(name, ensure_ascii=False) for name in ids)


def role_of(key: str) -> str | None:
    """The role in a JWT, which is not verified; None for anything else."""
    try:
        payload = key.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["role"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None
