"""POST /predict with multipart/form-data."""

import base64
import json
from collections.abc import Callable

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from serving.http.form import MAX_FIELD, MAX_PARTS, parse_form
from serving.http.limits import EXPLAIN, PREDICT, PREDICT_BATCH, _unsupported
from tests.support.pictures import encoded, picture

JPEG = encoded(picture(), "JPEG")
TYPE = "multipart/form-data; boundary=x"
FIELDS = {"title": "How do planes stay up?", "view_count": "120,000", "observed_at": "2026-03-02T12:00:00Z"}


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


FILE = part("thumbnail", JPEG, '; filename="a.jpg"\r\nContent-Type: image/jpeg')
DATA_URL = "data:application/octet-stream;base64," + base64.b64encode(JPEG).decode()
READ: dict[str, tuple[bytes, dict[str, object]]] = {
    "fields": (form(part("title", b"a"), part("view_count", b"5")), {"title": "a", "view_count": "5"}),
    "UTF-8": (form(part("title", "日本 ü".encode())), {"title": "日本 ü"}),
    "line breaks": (form(part("description", b"a\r\nb")), {"description": "a\r\nb"}),
    "a file": (form(part("title", b"a"), FILE), {"title": "a", "thumbnail_url": DATA_URL}),
    "a file by another name": (form(part("image", JPEG, '; filename="x"')), {"thumbnail_url": DATA_URL}),
    "a URL": (form(part("thumbnail_url", b"https://a.example/")), {"thumbnail_url": "https://a.example/"}),
    "fields that were left empty": (
        form(part("title", b"a"), part("view_count", b""), part("x", b" ")), {"title": "a"},
    ),
    "a file that was left out": (form(part("title", b"a"), part("f", b"", '; filename=""')), {"title": "a"}),
    "an empty URL and a file": (form(part("thumbnail_url", b""), FILE), {"thumbnail_url": DATA_URL}),
    "a list of one": (form(part("require", b"image")), {"require": ["image"]}),
    "a list": (form(part("require", b"image"), part("require", b"text")), {"require": ["image", "text"]}),
    "a field twice": (form(part("title", b"a"), part("title", b"b")), {"title": "b"}),
    "the most parts": (
        form(*[part(f"a{n}", b"1") for n in range(MAX_PARTS)]), {f"a{n}": "1" for n in range(MAX_PARTS)},
    ),
    "the longest field": (form(part("a", b"1" * MAX_FIELD)), {"a": "1" * MAX_FIELD}),
}  # fmt: skip
REFUSED: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "no boundary": ("multipart/form-data", lambda: form(part("title", b"a")), 400, "boundary"),
    "a boundary of 300": (TYPE + "x" * 300, lambda: form(part("title", b"a")), 400, "Boundary length"),
    "another boundary": (TYPE + "y", lambda: form(part("title", b"a")), 400, "not valid multipart"),
    "cut off": (TYPE, lambda: form(part("title", b"a"), FILE)[:-30], 400, "last boundary is missing"),
    "without the last boundary": (TYPE, lambda: part("title", b"a"), 400, "last boundary is missing"),
    "JSON": (TYPE, lambda: b'{"title": "a"}', 400, "not valid multipart"),
    "a part without a name": (TYPE, lambda: b"--x\r\nX: y\r\n\r\na\r\n--x--\r\n", 400, "not valid multipart"),
    "headers without end": (TYPE, lambda: b"--x\r\n" + b"X: y\r\n" * 100_000, 400, "not valid multipart"),
    "a header of a megabyte": (TYPE, lambda: form(part("a" * 1_000_000, b"")), 400, "not valid multipart"),
    "latin-1": (TYPE, lambda: form(part("title", b"\xe9")), 400, "not UTF-8"),
    "too many parts": (TYPE, lambda: form(*[part("a", b"1")] * 200_000), 413, f"more than {MAX_PARTS} parts"),
    "too long a field": (TYPE, lambda: form(part("a", b"1" * (MAX_FIELD + 1))), 413, "send a picture as"),
    "two files": (TYPE, lambda: form(FILE, FILE), 422, "several pictures (thumbnail, thumbnail)"),
    "a file and a URL": (
        TYPE, lambda: form(FILE, part("thumbnail_url", b"https://a")), 422,
        "several pictures (thumbnail, thumbnail_url)",
    ),
    "an empty file": (TYPE, lambda: form(part("f", b"", '; filename="a.jpg"')), 422, "The file f is empty"),
}  # fmt: skip


def test_a_form_has_the_values_of_a_json_body() -> None:
    """Texts as they are, a file as a data: URL, and nothing for an empty field."""
    found = {name: parse_form(TYPE, body) for name, (body, _) in READ.items()}
    assert [name for name, (_, values) in READ.items() if found[name] != values] == []


def test_a_form_is_bounded() -> None:
    """Damaged, large and ambiguous forms are refused with the reason."""
    failures = []
    for name, (content_type, make, status, words) in REFUSED.items():
        try:
            parse_form(content_type, make())
        except HTTPException as exc:
            if exc.status_code != status or words not in exc.detail:
                failures.append(f"{name}: {exc.status_code} {exc.detail}")
        else:
            failures.append(f"{name}: read")
    assert failures == []


def test_only_predict_takes_a_form() -> None:
    """Several videos and variations don't fit one."""
    headers = Headers({"content-type": TYPE})
    taken = {path: _unsupported(headers, path) is None for path in (PREDICT, PREDICT_BATCH, EXPLAIN)}
    assert taken == {PREDICT: True, PREDICT_BATCH: False, EXPLAIN: False}


def test_a_form_gets_the_score_of_its_json(client: httpx.Client) -> None:
    """The same values and the same picture; also large forms, which are parsed in a thread."""
    large = encoded(picture("RGB", (700, 400)), "PNG")
    assert len(large) > MAX_FIELD
    for content in (JPEG, large):
        sent = client.post("/predict", data=FIELDS, files={"thumbnail": ("a.jpg", content, "image/jpeg")})
        url = "data:image/jpeg;base64," + base64.b64encode(content).decode()
        same = client.post("/predict", json=FIELDS | {"thumbnail_url": url})
        assert (sent.status_code, same.status_code) == (200, 200), sent.text
        parts = ("viral_score", "predicted_velocity", "modalities", "warnings")
        assert [sent.json()[each] for each in parts] == [same.json()[each] for each in parts]
        assert sent.json()["modalities"]["image"]["state"] == "used"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"title": ""}, 422, "title: is required"),
        ({"title": "a", "view_count": "many"}, 422, "view_count"),
        ({"title": "a", "explain": "true"}, 200, '"baseline"'),
        ({"title": "a", "require": "image"}, 422, "no_thumbnail"),
    ],
)
def test_a_form_is_validated_like_json(
    client: httpx.Client, fields: dict[str, str], status: int, words: str
) -> None:
    """An invalid field is named; flags and lists are read from text."""
    answer = client.post("/predict", data=fields, files={"thumbnail": ("", b"")})
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_the_415_names_both_ways(client: httpx.Client) -> None:
    """JSON with a data: URL, and a form with a file; so does the OpenAPI document."""
    detail = client.post("/predict", content=JPEG, headers={"Content-Type": "image/jpeg"}).json()["detail"]
    assert "application/json" in detail
    assert "multipart/form-data" in detail
    document = json.loads(client.get("/openapi.json").text)
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}
