"""A hundred bodies of section L: odd, broken or hostile, each with the statuses that are right for it."""

import json

OK, REFUSED, EITHER = (200,), (400, 422), (200, 400, 422)
Payload = tuple[bytes, tuple[int, ...]]


def field(name: str, value: str, wanted: tuple[int, ...]) -> Payload:
    return f'{{"title": "x", "{name}": {value}}}'.encode(), wanted


def title(text: str, wanted: tuple[int, ...] = OK) -> Payload:
    return f'{{"title": {text}}}'.encode(), wanted


NO_COUNTS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1" + "0" * 400,
    "-1",
    "5.5",
    '"many"',
    "[]",
    "{}",
    str(2**63),
)
COUNTS = ("0", "null", "5.0", '"5"', "5e0", str(2**63 - 1))
NO_DURATIONS = ("NaN", "Infinity", "1e400", "-0.1", '"long"', "[1]", "{}")
DURATIONS = ("0", "null", "0.04", "1e300", "1.7976931348623157e308", "4.9e-324")
NO_TIMES = (
    *('"yesterday"', "0", "1e9", "1e300", "[]", "{}", '"\\ud800"', '"2026-13-01"', "NaN"),
    '"9999-12-31T23:59:59-12:00"',
)
TIMES = ("null", '""', "1.6e9", '"1969-12-31"', '"0001-01-01T00:00:00+14:00"')
TITLES = (
    *("\\ud800", "a\\udfffb", "\\ud83d\\ude00", "\\u0000", "\\u202e evil", "[SEP] [CLS] [PAD] [MASK]"),
    *("${jndi:ldap://x}", "'; DROP TABLE videos; --", "{{7*7}}", "<script>alert(1)</script>", "__proto__"),
    *(
        "%00%0d%0a",
        "\\r\\nSet-Cookie: a=b",
        "a" * 500,
        "\\ufffe\\uffff",
        "e\\u0301" * 200,
        "\\ud83d\\ude00" * 250,
    ),
)
NO_TITLES = ('""', "null", "5", "[]", "{}", json.dumps("x" * 10_001))
URLS = (
    *('"javascript:alert(1)"', '"file:///etc/passwd"', '"http://127.0.0.1/"', '"http://[::1]/"', '"\\ud800"'),
    *('"data:,"', '"data:image/png;base64,!!"', '" "'),
)
BROKEN = (
    *(
        b"",
        b" ",
        b"{",
        b'{"title": "x"',
        b'{"title": "x",}',
        b"{'title': 'x'}",
        b"\xff\xfe",
        b'{"title": "\xe9"}',
    ),
    *(
        b"[" * 900,
        b"[" * 45_000,
        b'{"a":' * 45_000,
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b'{"title": "x"} trailing',
    ),
    b'{"title": "x", "view_count": 1' + b"0" * 5000 + b"}",
)
PAYLOADS: list[Payload] = [
    *(field("view_count", value, REFUSED) for value in NO_COUNTS),
    *(field("like_count", value, OK) for value in COUNTS),
    *(field("duration_seconds", value, REFUSED) for value in NO_DURATIONS),
    *(field("duration_seconds", value, OK) for value in DURATIONS),
    *(field("published_at", value, REFUSED) for value in NO_TIMES),
    *(field("published_at", value, OK) for value in TIMES),
    *(title(f'"{text}"') for text in TITLES),
    *(title(value, REFUSED) for value in NO_TITLES),
    *(field("thumbnail_url", value, OK) for value in URLS),
    *((body, REFUSED) for body in BROKEN),
    field("description", "null", OK),
    field("description", json.dumps("word " * 2000), OK),
    field("description", json.dumps("word " * 2001), REFUSED),
    field("require", '["sound"]', REFUSED),
    field("require", '["image"]', REFUSED),
    field("require", "null", OK),
    field("__proto__", '{"admin": true}', OK),
    (b'\xef\xbb\xbf{"title": "x"}', OK),
    (b'{"title": "", "title": "x"}', OK),
]
