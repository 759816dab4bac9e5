"""The page's files and the headers that restrict them to one origin; tests/page uses them in a browser."""

import asyncio
import re
import time

import httpx
import pytest
from fastapi import FastAPI

from serving.http.page import ASSETS, PAGE, home_page, install_pages
from serving.observability.tracing import FASTAPI_OFF
from serving.settings import Settings

HTML = {"Accept": "text/html"}


def test_the_page_may_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    """No inline code, no scripts or styles from elsewhere; a picture may come from any address."""
    policy = dict(
        directive.split(" ", 1)
        for directive in client.get("/", headers=HTML).headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["img-src"] == "'self' data: http: https:"
    assert "unsafe" not in " ".join(policy.values())


def test_the_hub_may_show_the_page_in_a_frame(client: httpx.Client) -> None:
    """By default huggingface.co and ourselves, and no older header says otherwise."""
    headers = client.get("/", headers=HTML).headers
    assert headers["content-security-policy"].endswith("frame-ancestors 'self' https://huggingface.co")
    assert "x-frame-options" not in headers


def test_health_has_no_content_security_policy(client: httpx.Client) -> None:
    """Only pages carry one."""
    assert "content-security-policy" not in client.get("/").headers


def test_every_module_that_a_module_imports_is_served(client: httpx.Client) -> None:
    """As JavaScript, never sniffed, and asked for again after a release."""
    imported = {
        (module.parent / name).resolve().relative_to(PAGE)
        for module in PAGE.rglob("*.js")
        for name in re.findall(r'from "(\.[a-z./-]+\.js)"', module.read_text(encoding="utf-8"))
    }
    assert len(imported) > 20
    for path in imported:
        response = client.get(f"/page/{path.as_posix()}")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/javascript")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-cache"


def test_an_unchanged_module_is_not_sent_again(client: httpx.Client) -> None:
    """A browser that has it gets a 304."""
    first = client.get("/page/page.js")
    again = client.get("/page/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["__init__.py", "index.html", "none.js", "", "../settings.py"])
def test_only_what_the_page_loads_is_served(client: httpx.Client, name: str) -> None:
    """Our Python files, and the page without its policy, are not."""
    assert client.get(f"/page/{name}").status_code == 404


def test_the_page_loads_files_of_known_kinds() -> None:
    """Apart from the page and its Python module, the folder holds only files that are served."""
    kinds = {path.suffix for path in PAGE.rglob("*.*") if "__pycache__" not in path.parts}
    assert kinds == ASSETS | {".html", ".py"}


def test_frames_are_the_operators_choice() -> None:
    response = home_page(["https://a.example", "*"])
    assert response.headers["content-security-policy"].endswith("frame-ancestors 'self' https://a.example *")


@pytest.mark.parametrize(
    "value", ["huggingface.co", "https://a.example; script-src *", "https://a.example/path", "'none'"]
)
def test_an_invalid_origin_is_refused(value: str) -> None:
    """Text of an environment variable is checked before it is sent in a header."""
    with pytest.raises(ValueError, match="expected origins like"):
        Settings(frame_ancestors=(value,))


@pytest.mark.anyio
async def test_the_openapi_document_is_made_once() -> None:
    """Requests that arrive while it is made wait for it instead of making another."""
    app, made = FastAPI(**FASTAPI_OFF), []

    def document() -> dict[str, str]:
        made.append(1)
        time.sleep(0.05)
        return {"openapi": "3.1.0"}

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation extends it
    install_pages(app, Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://miles") as client:
        answers = await asyncio.gather(*(client.get("/openapi.json") for _ in range(4)))
    assert {answer.text for answer in answers} == {'{"openapi":"3.1.0"}'}
    assert made == [1]
