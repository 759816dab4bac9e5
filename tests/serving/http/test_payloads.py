"""Requests that are odd, broken or hostile: a 200 or a documented 4xx, never a 5xx."""

import json

import httpx

JSON = {"Content-Type": "application/json", "Origin": "http://localhost:3000"}
PROBLEM = "application/problem+json"
LARGEST = 2**63 - 1
# A field's values as raw JSON: those that are scored, and those that get a 422 naming the field.
SCORED: dict[str, tuple[str, ...]] = {
    "title": (
        *(r'"\ud800"', r'"a\udfffb"', r'"\ud83d\ude00"', r'"\u0000"', r'"\u202e evil"', '"__proto__"'),
        *('"[SEP] [CLS] [PAD] [MASK]"', '"${jndi:ldap://x}"', '"\'; DROP TABLE videos; --"', '"{{7*7}}"'),
        *('"<script>alert(1)</script>"', '"%00%0d%0a"', r'"\r\nSet-Cookie: a=b"', r'"\ufffe\uffff"'),
        *(json.dumps("a" * 500), json.dumps("e\u0301" * 200), json.dumps("\U0001f600" * 250)),
    ),
    "view_count": ("0", "null", "5.0", '"5"', "5", "5e0", str(LARGEST)),
    "duration_seconds": ("0", "null", "0.04", "1e300", "1.7976931348623157e308", "4.9e-324"),
    "published_at": ("null", '""', "1.6e9", '"1969-12-31"', '"0001-01-01T00:00:00+14:00"'),
    "thumbnail_url": (
        *('"javascript:alert(1)"', '"file:///etc/passwd"', '"http://127.0.0.1/"', '"http://[::1]/"'),
        *(r'"\ud800"', '"data:,"', '"data:image/png;base64,!!"', '" "'),
    ),
    "description": ("null", json.dumps("word " * 2000)),
    "require": ("null",),
    "__proto__": ('{"admin": true}',),
}
REFUSED: dict[str, tuple[str, ...]] = {
    "title": ('""', "null", "5", "[]", "{}", json.dumps("x" * 10_001)),
    "view_count": (
        *("NaN", "Infinity", "-Infinity", "1e400", "-1", "5.5", '"many"', "[]", "{}"),
        *(str(LARGEST + 1), str(2**64), "1" + "0" * 400),
    ),
    "share_count": ("-1",),
    "save_count": (str(LARGEST + 1),),
    "completion_rate": ("62",),
    "creator_avg_views": ("-0.5",),
    "duration_seconds": ("NaN", "Infinity", "1e400", "-0.1", '"long"', "[1]", "{}"),
    "published_at": (
        *('"yesterday"', "0", "1e9", "1e300", "[]", "{}", r'"\ud800"', '"2026-13-01"', "NaN"),
        '"9999-12-31T23:59:59-12:00"',
    ),
    "thumbnail_url": ("7",),
    "description": (json.dumps("word " * 2001),),
    "require": ('["sound"]',),
}
NO_VIDEOS: tuple[bytes, ...] = (
    *(b"", b" ", b"{", b"{}", b"[]", b"null", b"1", b'"text"', b'{"title": "x"', b'{"title": "x",}'),
    *(b"{'title': 'x'}", b"\xff\xfe", b'{"title": "\xe9"}', b'{"title": "x"} trailing', b"[" * 900),
    *(b"[" * 45_000, b'{"a":' * 45_000, b'{"title": "x", "view_count": 1' + b"0" * 5000 + b"}"),
    b'{"title": "x", "require": ["image"]}',
)
VIDEOS = (b'\xef\xbb\xbf{"title": "x"}', b'{"title": "", "title": "x"}')


def post(client: httpx.Client, body: bytes | str, **headers: str) -> httpx.Response:
    return client.post("/predict", content=body, headers=JSON | headers)


def with_value(name: str, value: str) -> str:
    return f'{{"title": "x", "{name}": {value}}}' if name != "title" else f'{{"title": {value}}}'


def test_odd_values_are_scored(client: httpx.Client) -> None:
    """A byte order mark is skipped, and the last of duplicate keys counts."""
    bodies = [*VIDEOS, *(with_value(name, value) for name in SCORED for value in SCORED[name])]
    answers = {body: post(client, body) for body in bodies}
    failures = {
        body[:60]: answer.text
        for body, answer in answers.items()
        if answer.status_code != 200 or not 0 <= answer.json()["viral_score"] <= 1
    }
    assert failures == {}


def test_values_outside_the_contract_name_their_field(client: httpx.Client) -> None:
    failures = {}
    for name, values in REFUSED.items():
        for value in values:
            answer = post(client, with_value(name, value))
            if answer.status_code != 422 or not answer.json()["errors"][0]["field"].startswith(name):
                failures[name, value[:60]] = answer.text
    assert failures == {}


def test_a_body_that_is_not_a_video_is_a_problem(client: httpx.Client) -> None:
    """Broken, misencoded and absurdly nested: a 400 or a 422, readable across origins, with a request id."""
    failures = {}
    for body in NO_VIDEOS:
        answer = post(client, body)
        told = (answer.headers["content-type"], answer.headers.get("access-control-allow-origin"))
        if answer.status_code not in (400, 422) or told != (PROBLEM, JSON["Origin"]):
            failures[body[:60]] = answer.text
        if not answer.json()["instance"].endswith(answer.headers["x-request-id"]):
            failures[body[:60]] = "another request's id"
    assert failures == {}


def test_half_a_character_in_a_name_is_repaired(client: httpx.Client) -> None:
    """A name that an answer repeats, as a warning or as a problem, has the replacement character."""
    warned = post(client, '{"title": "x", "views\\ud800": 5}')
    assert "views\ufffd (send view_count)" in str(warned.json()["warnings"])
    body = b'{"title": "x", "what_if": [{"\\ud800": {}}]}'
    refused = client.post("/explain", content=body, headers=JSON)
    assert refused.json()["errors"][0]["field"].startswith("what_if.0.\ufffd")


def test_a_compressed_body_is_415(client: httpx.Client) -> None:
    assert post(client, b'{"title": "x"}', **{"Content-Encoding": "gzip"}).status_code == 415


def test_declared_oversize_body_is_413(client: httpx.Client) -> None:
    assert post(client, b" " * (4 * 1024 * 1024 + 1)).status_code == 413


def test_chunked_oversize_body_is_413(client: httpx.Client) -> None:
    """A body without a length is counted as it arrives."""
    chunks = (b" " * 65_536 for _ in range(80))
    response = client.post("/predict", content=chunks, headers=JSON)
    assert response.status_code == 413
