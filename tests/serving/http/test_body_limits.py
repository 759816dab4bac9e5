"""Small bodies that cost much, and large ones that cost little."""

import asyncio
import json
import unicodedata
from collections.abc import Sequence

import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from features.parsing import MAX_MARKS
from serving.errors import OverloadedError
from serving.http.limits import (
    BODIES_AT_ONCE,
    EXPLAIN,
    MAX_VALUES,
    SMALL_BODY,
    BodyBudget,
    BodyLimits,
    _unsupported,
    parse_json,
)
from serving.http.problems import MAX_ERRORS, invalid_fields
from serving.http.requests import MAX_LOOKED_AT, PredictRequest, near_names

MANY = b",".join([b"[]"] * (MAX_VALUES + 2))
REFUSED = {
    "lists": (b"[" + MANY + b"]", 413),
    "names": (b"{" + b",".join(b'"%x":0' % n for n in range(MAX_VALUES)) + b"}", 413),
    "strings": (b"[" + b'"",' * (MAX_VALUES + 1) + b"0]", 413),
    "behind a quote in a string": (b'{"a":"\\"","b":[' + MANY + b"]}", 413),
    "behind a backslash in a string": (b'{"a":"\\\\","b":[' + MANY + b"]}", 413),
    "digits": (b"[" + b"9" * 1001 + b"]", 400),
    "digits of many numbers": (b"[" + b",".join([b"9" * 20] * 60_000) + b"]", 413),
    "digits of a fraction": (b"[0." + b"9" * 1001 + b"]", 400),
    "UTF-16": ('{"title": "x"}'.encode("utf-16"), 400),
    "depth": (b"[" * 50_000, 400),
}
ACCEPTED: dict[str, tuple[bytes, object]] = {
    "commas in a string": (json.dumps({"a": "," * 3 * MAX_VALUES}).encode(), {"a": "," * 3 * MAX_VALUES}),
    "brackets and quotes in a string": (json.dumps(['"[{' * MAX_VALUES]).encode(), ['"[{' * MAX_VALUES]),
    "a full batch of wide rows": (json.dumps([dict.fromkeys(map(str, range(150)), 0)] * 256).encode(), None),
    "a byte order mark": (b"\xef\xbb\xbf{}", {}),
    "half a character": (b'"\\ud800"', "\ud800"),
}
MEDIA_TYPES = {
    "application/json": True,
    "APPLICATION/JSON; charset=UTF-8": True,
    'application/json ; charset="utf-8"': True,
    "application/json; charset=latin-1": False,
    "text/json": False,
    "multipart/form-data; boundary=x": False,
    "": False,
    "application/json" + ";" * 80_000: False,
    "application/json; " + "a=b;" * 49: False,
}


def test_the_values_of_a_body_are_bounded() -> None:
    """Too many values, wherever they are, and numbers that take long to parse are refused beforehand."""
    failures = []
    for name, (body, status) in REFUSED.items():
        try:
            parse_json(body)
            failures.append((name, "accepted"))
        except HTTPException as exc:
            if exc.status_code != status:
                failures.append((name, exc.detail))
    for name, (body, value) in ACCEPTED.items():
        if (parsed := parse_json(body)) != value and value is not None:
            failures.append((name, str(parsed)[:80]))
    assert failures == []


def test_malformed_json_keeps_the_parsers_error() -> None:
    """The parser's error names the position."""
    with pytest.raises(json.JSONDecodeError):
        parse_json(b'{"title": }')


def test_media_types() -> None:
    """Only JSON in UTF-8 is read, with or without parameters, and no header of over 200 characters."""
    failures = [
        name[:40]
        for name, is_read in MEDIA_TYPES.items()
        if (_unsupported(Headers({"content-type": name}), EXPLAIN) is None) != is_read
    ]
    assert failures == []


def test_errors_of_an_answer_are_limited() -> None:
    """However many fields are wrong, and whatever they are called, an answer stays short."""
    errors = [{"type": "extra", "loc": ("what_if", "x" * 10_000), "msg": "wrong"}] * 10_000
    detail, fields = invalid_fields(errors)
    assert len(fields) == MAX_ERRORS
    assert len(detail) + len(json.dumps(fields)) < 300 * (MAX_ERRORS + 1)


def test_bodies_share_a_budget() -> None:
    """Large bodies are refused when it is used up, small ones later, and none once it is given back."""
    limit = BODIES_AT_ONCE * SMALL_BODY
    budget = BodyBudget(SMALL_BODY)
    budget.take(limit, limit)
    with pytest.raises(OverloadedError):
        budget.take(1, SMALL_BODY + 1)
    budget.take(limit - 1, SMALL_BODY)
    with pytest.raises(OverloadedError):
        budget.take(1, 1)
    budget.give_back(2 * limit + 1)
    budget.take(limit, limit)


def test_texts_take_linear_time() -> None:
    """A picture's URL is read whole; text is cut after its limit, and has at most thirty marks in a row.

    Normalising would sort more marks in quadratic time.
    """
    url = "data:image/png;base64," + "A" * 1_000_000
    marks = "a" + "\u0315\u0300" * 5_000
    request = PredictRequest.model_validate({"title": marks, "thumbnail_url": url})
    assert request.thumbnail_url == url
    assert len(request.title) <= 1 + MAX_MARKS
    assert unicodedata.is_normalized("NFC", request.title)
    with pytest.raises(ValidationError, match="at most 10000"):
        PredictRequest.model_validate({"title": "\u0439" * 1_000_000})


def test_similar_names_are_looked_for_among_a_few() -> None:
    """Names after the first 300 are not compared with the fields' names."""
    columns = {f"column {number}": 1 for number in range(MAX_LOOKED_AT)}
    assert near_names({**columns, "viewCount": 1}, {"view_count": None}) == []
    assert near_names({"viewCount": 1, **columns}, {"view_count": None}) != []


def statuses(limits: BodyLimits, bodies: Sequence[Sequence[bytes]], *, declared: bool) -> list[int]:
    """The statuses of requests that send their bodies concurrently, piece by piece; 200 is the app's."""

    async def ask(pieces: Sequence[bytes]) -> int:
        left, answers = list(pieces), []
        headers = [(b"content-type", b"application/json")]
        if declared:
            headers.append((b"content-length", b"%d" % sum(map(len, pieces))))
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}

        async def receive() -> Message:
            await asyncio.sleep(0)
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message: Message) -> None:
            answers.append(message.get("status"))

        await limits(scope, receive, send)
        return int(answers[0] or 0)

    async def ask_all() -> list[int]:
        return await asyncio.gather(*map(ask, bodies))

    return asyncio.run(ask_all())


async def read(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 an ASGI app's signature
    """An app that reads its body, and answers like FastAPI with the status of the error."""
    try:
        while (await receive())["more_body"]:
            pass
        status = 200
    except HTTPException as exc:
        status = exc.status_code
    await send({"type": "http.response.start", "status": status, "headers": []})


def test_bodies_in_flight_are_bounded() -> None:
    """Of concurrent bodies, no more are read than the budget holds; a later one is read."""
    size = 2 * SMALL_BODY
    limits = BodyLimits(read, size, 60)
    body = [bytes(size // 8)] * 8
    for declared in (True, False):
        answers = statuses(limits, [body] * 4 * BODIES_AT_ONCE, declared=declared)
        assert set(answers) == {200, 503}, declared
        assert answers.count(200) <= BODIES_AT_ONCE, declared
        assert statuses(limits, [body], declared=declared) == [200], declared
