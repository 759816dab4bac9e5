"""Every error is a problem, with the headers that every answer has."""

import re

import httpx
import pytest

from serving import errors
from serving.errors import MilesError
from serving.http.problems import STATUS_BY_ERROR

EVIL = "https://evil.example"
FRONT_END = "http://localhost:3000"


def test_every_error_has_a_status() -> None:
    """Each MilesError has a row in the status table, and the tree in the docstring agrees with it."""
    assert set(MilesError.__subclasses__()) == set(STATUS_BY_ERROR)
    drawn = dict(re.findall(r"── (\w+) +(\d{3})", errors.__doc__ or ""))
    assert drawn == {error.__name__: str(int(status)) for error, status in STATUS_BY_ERROR.items()}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/predict/", 404),
        ("GET", "//predict", 404),
        ("GET", "/page/../app.py", 404),
        ("GET", "/page/%2e%2e/%2e%2e/app.py", 404),
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("PATCH", "/predict", 405),
        ("TRACE", "/predict", 405),
        ("POST", "/model/info", 405),
        ("POST", "/predict", 415),
    ],
)
def test_error_is_a_problem(client: httpx.Client, method: str, path: str, status: int) -> None:
    """Whatever is wrong, the answer is problem+json with all five members and the request's id."""
    response = client.request(method, str(client.base_url).rstrip("/") + path)
    body = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert body.keys() >= {"type", "title", "status", "detail", "instance"}
    assert body["status"] == status
    assert body["instance"] == f"urn:miles:request:{response.headers['x-request-id']}"


def test_a_wrong_route_names_the_one_to_use(client: httpx.Client) -> None:
    """A 405 carries Allow and names the method; a 404 suggests the nearest route, or those that score."""
    assert client.get("/predict").headers["allow"] == "POST"
    rows = {
        ("GET", "/predict"): "/predict accepts POST.",
        ("POST", "/"): "/ accepts GET. Videos are scored by POST /predict.",
        ("DELETE", "/model/info"): "/model/info accepts GET.",
        ("GET", "/predct"): "use POST /predict. GET /docs",
        ("GET", "/Health/Ready/"): "use GET /health/ready. GET /docs",
        ("POST", "/predicts"): "use POST /predict. GET /docs",
        ("GET", "/xyz"): "use POST /predict, POST /predict/batch, POST /explain. GET /docs",
    }
    details = {row: client.request(*row).json()["detail"] for row in rows}
    assert {row: detail for row, detail in details.items() if rows[row] not in detail} == {}


def test_a_trailing_slash_is_the_same_route(client: httpx.Client) -> None:
    """Scoring routes answer as without it, limits included."""
    for path, body in (("/predict", {"title": "x"}), ("/predict/batch", {"videos": [{"title": "x"}]})):
        answers = [client.post(f"{path}{end}", json=body) for end in ("", "/")]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json().keys() == answers[1].json().keys()
    assert client.post("/predict/", content=b"x").status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("POST", "/predict", b'{"title": "x"}'),
        ("POST", "/predict", b'{"title": ""}'),
        ("POST", "/predict", b"{"),
        ("POST", "/predict", b" " * 5_000_000),
        ("GET", "/nowhere", None),
    ],
)
@pytest.mark.parametrize("origin", [FRONT_END, "https://miles-git-main.vercel.app"])
def test_every_answer_is_readable_across_origins(
    client: httpx.Client, method: str, path: str, body: bytes | None, origin: str
) -> None:
    """The front ends' pages can read each answer, errors included."""
    headers = {"Origin": origin, "Content-Type": "application/json"}
    response = client.request(method, path, content=body, headers=headers)
    assert response.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin", [EVIL, "https://vercel.app.evil.example", "http://miles.vercel.app", "null"]
)
def test_other_origins_are_not_allowed(client: httpx.Client, origin: str) -> None:
    """A page of another origin gets no permission to read."""
    assert "access-control-allow-origin" not in client.get("/", headers={"Origin": origin}).headers


def test_preflight_is_answered(client: httpx.Client) -> None:
    """A browser's preflight for a JSON POST is granted to a front end."""
    headers = {
        "Origin": FRONT_END,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = client.options("/predict", headers=headers)
    assert response.status_code == 200
    assert "POST" in response.headers["access-control-allow-methods"]


def test_harmless_request_id_is_kept(client: httpx.Client) -> None:
    assert client.get("/", headers={"X-Request-ID": "run-7.a"}).headers["x-request-id"] == "run-7.a"


@pytest.mark.parametrize("offered", ["a" * 65, "a b", "<script>", "a;b"])
def test_other_request_id_is_replaced(client: httpx.Client, offered: str) -> None:
    assert client.get("/", headers={"X-Request-ID": offered}).headers["x-request-id"] != offered


def test_invalid_value_is_not_repeated(client: httpx.Client) -> None:
    response = client.post("/predict", json={"title": "x", "view_count": "secret-value"})
    assert "secret-value" not in response.text


def test_the_key_scheme_is_documented(client: httpx.Client) -> None:
    """OpenAPI declares the bearer scheme for the routes that may need a key, and for no others."""
    document = client.get("/openapi.json").json()
    (name, scheme), *others = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"], others) == ("http", "bearer", [])
    secured = {
        path
        for path, methods in document["paths"].items()
        for route in methods.values()
        if "security" in route
    }
    assert secured == {"/predict", "/predict/batch", "/explain", "/admin/reload", "/youtube/{video_id}"}
    assert document["paths"]["/predict"]["post"]["security"] == [{name: []}]


def test_documented_errors_are_problems(client: httpx.Client) -> None:
    """The OpenAPI document lists each scoring route's errors as problem+json, and the Problem schema."""
    document = client.get("/openapi.json").json()
    responses = document["paths"]["/predict"]["post"]["responses"]
    assert {"200", "400", "413", "415", "422", "503", "504"} <= responses.keys()
    assert all("application/problem+json" in responses[code]["content"] for code in ("413", "422", "503"))
    assert "Problem" in document["components"]["schemas"]
