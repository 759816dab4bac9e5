"""Rows over Supabase's HTTP API (PostgREST)."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from miles_client.errors import retry_after_s
from miles_client.service import Outcome, Refusal, Row, Score
from miles_client.settings import SettingError, setting, shown
from miles_client.table.kept import predictions_of, snapshot_of, with_previous_looks
from miles_client.table.store import (
    EXPECTED,
    NEXT_STEPS,
    Claim,
    DatabaseError,
    DatabaseLost,
    Names,
    is_of_row,
)
from miles_client.wire import headers, host_of, http_client, json_in

# Codes for a missing table or column.
LACKING = ("42P01", "42703", "PGRST106", "PGRST204", "PGRST205")
# Classes of SQLSTATE that are not an outage, although their status is 500.
LASTING = ("0A", "25", "42", "55")
PARAMETERS = ("select", "order", "limit", "offset", "and", "or", "columns", "on_conflict")


class PostgREST:
    """Rows over Supabase's HTTP API, without locks: see the command's help."""

    def __init__(self, url: str, key: str, timeout_s: float, names: Names) -> None:
        root = url.strip().rstrip("/").removesuffix("/rest/v1")
        with setting("SUPABASE_URL"):
            if host_of(root, "https://abcd.supabase.co") in ("supabase.com", "app.supabase.com"):
                raise ValueError(f"{url!r} is the dashboard; the project's URL is https://abcd.supabase.co")
        if key.startswith("sb_publishable_") or role_of(key) == "anon":
            raise SettingError(
                "SUPABASE_SERVICE_KEY: this is the public key, which cannot read rows; use the secret key"
            )
        schema, _, table = names.table.rpartition(".")
        self._root, self._table, self._names = f"{root}/rest/v1", table, names
        self._keeps: bool | None = None
        with setting("SUPABASE_SERVICE_KEY"):
            carried = headers(key)
        if not role_of(key):  # keys of the new kind (sb_secret_...) are rejected as bearer tokens
            del carried["Authorization"]
        with setting("the environment"):
            self._http = http_client(carried | {"apikey": key}, timeout_s)
        self._id, self._analyzed_at = field(names.column("id")), field(names.column("analyzed_at"))
        if schema:
            self._http.headers.update({"Accept-Profile": schema, "Content-Profile": schema})

    def keeps(self) -> bool:
        """Whether the tables of clients/database/loop.sql exist."""
        if self._keeps is None:
            tables = ("snapshots", "predictions")
            own = {"select": "candidate_id", "limit": "1"}  # a table of that name may be another program's
            found = [self._ask("GET", own, table=name, may_lack=True) for name in tables]
            self._keeps = all(
                answer.is_success and all("candidate_id" in row for row in rows_in(answer))
                for answer in found
            )
        return self._keeps

    def pending(self) -> int:
        """The number of rows without a score."""
        only = {"select": self._id, self._analyzed_at: "is.null", "limit": "1"}
        answer = self._ask("GET", only, prefer="count=exact")
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else 0

    @contextmanager
    def claim(self, count: int, skip: set[str]) -> Iterator[Claim]:
        """The oldest rows that are not in `skip`, without a lock."""
        size = count + min(len(skip), 200)  # a long list of ids does not fit into a URL
        order = f"{field(self._names.column('created_at'))}.asc.nullslast,{self._id}.asc"
        rows: list[Row] = []
        lacking: list[str] = []
        position = 0
        while not rows:
            only = {self._analyzed_at: "is.null", "order": order, "limit": str(size), "offset": str(position)}
            found = rows_in(self._ask("GET", only))
            if not found:
                break
            page, lacking = self._names.rows(found), self._names.lacking(found[0])
            rows = [row for row in page if row["id"] not in skip][:count]
            position += len(page)
        if rows and self._keeps:
            rows = with_previous_looks(rows, self._looks)
        each = {row["id"]: row for row in rows}
        yield Claim(rows, lacking, lambda scores: self._write(each, scores))

    def _looks(self, ids: list[str], since: str, until: str) -> list[Row]:
        found = []
        for first in range(0, len(ids), 50):  # a longer list of ids may not fit into a URL
            only = {
                "candidate_id": f"in.({quoted(ids[first : first + 50])})",
                "view_count": "not.is.null",
                "and": f'(taken_at.gte."{since}",taken_at.lte."{until}")',
            }
            found += self._all(only | {"order": "taken_at,candidate_id"}, table="snapshots")
        return found

    def _all(self, only: Row, table: str = "") -> list[Row]:
        """The rows of every page: a server returns at most `db-max-rows` at once, 1000 on Supabase."""
        found: list[Row] = []
        while rows := rows_in(self._ask("GET", only | {"offset": str(len(found))}, table=table)):
            found += rows
        return found

    def kept(self, count: int, skip: set[str]) -> list[Row]:  # noqa: ARG002
        """Always empty: without locks, a row is found to be kept only when its score is written."""
        return []

    def unscored(self, rows: Sequence[Row]) -> set[str]:
        """The ids of rows whose `analyzed_at` is still null."""
        found: set[str] = set()
        for first in range(0, len(rows), 50):  # a longer list of ids may not fit into a URL
            ids = {row["id"] for row in rows[first : first + 50]}
            only = {self._id: f"in.({quoted(ids)})", self._analyzed_at: "is.null", "select": self._id}
            found |= ids & {
                str(name) for row in self._all(only | {"order": self._id}) for name in row.values()
            }
        return found

    def _write(self, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> dict[str, Outcome | None]:
        """Write the predictions first: if the run dies before the score, the next run finds them."""
        written: dict[str, Outcome | None] = {}
        for name, score in scores.items():
            try:
                kept = self._keep(rows[name], score) if self._keeps else score
                written[name] = self._write_one(name, kept) if isinstance(kept, Score) else kept
            except DatabaseLost:
                if not written:
                    raise
                break
        return written

    def _keep(self, row: Row, score: Score) -> Score | Refusal:
        """Keep the prediction and the counts; returns the kept score, perhaps of an earlier run that died."""
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
        """Insert rows that are not there yet; returns the inserted ones."""
        prefer = "resolution=ignore-duplicates,return=representation"
        return self._changed("POST", {}, rows, table=table, prefer=prefer)

    def _write_one(self, row: str, score: Score) -> Outcome | None:
        values = {
            self._names.column("miles_score"): score.viral_score,
            self._names.column("predicted_velocity"): score.predicted_velocity,
            self._names.column("analyzed_at"): datetime.now(UTC).isoformat(),
        }
        both = f"{self._id},analyzed_at:{self._analyzed_at}"
        only = {self._id: f"eq.{row}", self._analyzed_at: "is.null", "select": both}
        changed = self._changed("PATCH", only, values, prefer="return=representation")
        if isinstance(changed, Refusal):
            return changed
        if len(changed) > 1:
            raise self._names.ambiguous("is the same in two rows")
        return score if changed and changed[0].get("analyzed_at", True) else None  # a trigger may reset it

    def _changed(self, *words: Any, **options: Any) -> list[Row] | Refusal:
        """The rows that a request has written, or why the database rejects them."""
        answer = self._ask(*words, **options, may_refuse=True)
        if answer.status_code >= 400:
            return Refusal(f"the database rejects it: {reason_of(answer)}")
        return rows_in(answer)

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
        url = f"{self._root}/{quote(table or self._table, safe='')}"
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
        status, code, reason = answer.status_code, code_of(answer), reason_of(answer)
        if (may_refuse and is_of_row(code, reason)) or (may_lack and code in LACKING):
            return answer
        if status in (401, 403):
            raise SettingError(f"SUPABASE_SERVICE_KEY: {reason}")
        if status == 429 or (status >= 500 and code[:2] not in LASTING):
            reason += NEXT_STEPS.get(code, "")
            raise DatabaseLost(f"SUPABASE_URL: {reason}", retry_after_s(answer.headers.get("Retry-After")))
        if answer.has_redirect_location:
            target = answer.headers["Location"]
            raise DatabaseError(f"SUPABASE_URL: {url} redirects to {target}: use that address")
        if status >= 300:
            expected = f"; expected {EXPECTED}" if status == 404 or code in LACKING else ""
            raise DatabaseError(f"{url}: {reason}{expected}")
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
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    return shown(f"{answer.status_code}: {said}" if said else f"status {answer.status_code}", 300)


def code_of(answer: httpx.Response) -> str:
    """The SQLSTATE of a refusal, or PostgREST's own code."""
    body = json_in(answer)
    return str(body.get("code")) if isinstance(body, dict) else ""


def quoted(names: Sequence[str] | set[str]) -> str:
    """Ids or a column, quoted for PostgREST."""
    return ",".join('"{}"'.format(re.sub(r'(["\\])', r"\\\1", name)) for name in names)


def field(column: str) -> str:
    """A column's name, quoted if it has special characters or is a parameter of PostgREST."""
    is_plain = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", column) and column not in PARAMETERS
    return column if is_plain else quoted([column])


def role_of(key: str) -> str | None:
    """The role in a JWT, which is not verified; None for anything else."""
    try:
        payload = key.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["role"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None
