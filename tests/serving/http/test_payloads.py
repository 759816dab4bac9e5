"""Requests that are odd, broken or hostile: a 200 or a documented 4xx, never a 5xx."""

import json
from typing import Any

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def post(client: httpx.Client, body: bytes | str, **headers: str) -> httpx.Response:
    return client.post("/predict", content=body, headers=JSON | headers)


@pytest.mark.parametrize(
    "count",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1",
        "5.5",
        str(2**63),
        str(2**64),
        "1" + "0" * 400,
        '"many"',
        "[]",
        "{}",
    ],
)
def test_count_that_is_no_count_is_422(client: httpx.Client, count: str) -> None:
    """A count outside 0 .. 2^63 - 1 is refused, and the problem names the field."""
    response = post(client, f'{{"title": "x", "view_count": {count}}}')
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "view_count"


def test_integer_of_five_thousand_digits_is_refused(client: httpx.Client) -> None:
    """An integer longer than Python parses is a 400, not a crash."""
    assert post(client, '{"title": "x", "view_count": 1%s}' % ("0" * 5000)).status_code == 400


@pytest.mark.parametrize("count", ["5.0", '"5"', "5", "5e0", str(2**63 - 1)])
def test_count_that_means_an_integer_is_accepted(client: httpx.Client, count: str) -> None:
    """5.0 and "5" are counts: databases and spreadsheets write them so."""
    assert post(client, f'{{"title": "x", "view_count": {count}}}').status_code == 200


@pytest.mark.parametrize("duration", ["NaN", "Infinity", "1e400", "-0.1"])
def test_duration_that_is_no_duration_is_422(client: httpx.Client, duration: str) -> None:
    assert post(client, f'{{"title": "x", "duration_seconds": {duration}}}').status_code == 422


@pytest.mark.parametrize("duration", ["0", "0.04", "1e300", "1.7976931348623157e308"])
def test_any_finite_duration_gets_a_finite_score(client: httpx.Client, duration: str) -> None:
    """The largest float is a duration like any other."""
    response = post(client, f'{{"title": "x", "duration_seconds": {duration}}}')
    assert response.status_code == 200
    assert 0 <= response.json()["viral_score"] <= 1


@pytest.mark.parametrize(
    "title",
    [
        "\\ud800",
        "a\\udfffb",
        "\\ud83d\\ude00",
        "\\u0000",
        "[SEP] [CLS] [PAD] [MASK]",
        "${jndi:ldap://x}",
        "'; DROP--",
    ],
)
def test_odd_title_is_scored(client: httpx.Client, title: str) -> None:
    """Lone surrogates, control characters and injection attempts are text like any other."""
    assert post(client, f'{{"title": "{title}"}}').status_code == 200


def test_lone_surrogate_in_a_wrong_field_is_422(client: httpx.Client) -> None:
    """A problem about a value that has no UTF-8 form can still be sent."""
    response = post(client, '{"title": "x", "published_at": "\\ud800"}')
    assert response.status_code == 422


def test_half_a_character_in_a_name_is_repaired(client: httpx.Client) -> None:
    """A name that an answer repeats, as a warning or as a problem, has the replacement character."""
    warned = post(client, '{"title": "x", "views\\ud800": 5}')
    assert "views\ufffd (send view_count)" in str(warned.json()["warnings"])
    body = b'{"title": "x", "what_if": [{"\\ud800": {}}]}'
    refused = client.post("/explain", content=body, headers={"Content-Type": "application/json"})
    assert refused.json()["errors"][0]["field"].startswith("what_if.0.\ufffd")


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""},
        {"title": None},
        {"title": 5},
        {"title": "x" * 10_001},
        {"title": "x", "description": "y" * 10_001},
        {"title": "x", "thumbnail_url": 7},
        {"title": "x", "published_at": "yesterday"},
        {"title": "x", "published_at": 1e300},
        {"title": "x", "require": ["sound"]},
        {"title": "x", "share_count": -1},
        {"title": "x", "save_count": 2**63},
        {"title": "x", "completion_rate": 62},
        {"title": "x", "creator_avg_views": -0.5},
        {},
        [],
        "text",
    ],
)
def test_invalid_request_is_422(client: httpx.Client, fields: Any) -> None:
    """A request outside the contract is refused with the field at fault."""
    response = client.post("/predict", json=fields)
    assert response.status_code == 422
    assert response.json()["errors"]


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("0001-01-01T00:00:00+14:00", 200),
        ("1969-12-31", 200),
        ("9999-12-31T23:59:59-12:00", 422),
        (0, 422),
        (1e9, 422),
    ],
)
def test_extreme_publication_time_never_fails(client: httpx.Client, moment: Any, status: int) -> None:
    """Old times are ages like any other; what is no time of a video, or in the future, is refused."""
    assert client.post("/predict", json={"title": "x", "published_at": moment}).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"title": "x"',
        b"\xff\xfe",
        b'{"title": "\xe9"}',
        b"[" * 900,
        b"[" * 45_000,
        b'{"a":' * 45_000,
    ],
)
def test_body_that_is_not_json_is_4xx(client: httpx.Client, body: bytes) -> None:
    """Broken, misencoded and absurdly nested bodies are the client's fault, said as a problem."""
    response = post(client, body)
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_last_of_duplicate_keys_wins(client: httpx.Client) -> None:
    """Duplicate keys follow Python's rule: the last one counts."""
    assert post(client, '{"title": "", "title": "x"}').status_code == 200


def test_byte_order_mark_is_accepted(client: httpx.Client) -> None:
    assert post(client, b"\xef\xbb\xbf" + json.dumps({"title": "x"}).encode()).status_code == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "application/json; charset=latin-1"),
        ("Content-Encoding", "gzip"),
    ],
)
def test_body_in_another_form_is_415(client: httpx.Client, header: str, value: str) -> None:
    """A body that is compressed or not declared as UTF-8 JSON is refused with what to send instead."""
    response = post(client, b'{"title": "x"}', **{header: value})
    assert response.status_code == 415


def test_declared_oversize_body_is_413(client: httpx.Client) -> None:
    assert post(client, b" " * (4 * 1024 * 1024 + 1)).status_code == 413


def test_chunked_oversize_body_is_413(client: httpx.Client) -> None:
    """A body without a length is counted as it arrives."""
    chunks = (b" " * 65_536 for _ in range(80))
    response = client.post("/predict", content=chunks, headers=JSON)
    assert response.status_code == 413
