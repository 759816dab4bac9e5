"""What pollers, browsers and Prometheus read."""

import re

import httpx

from serving.http.info import prefers_html

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def test_home_is_health_for_a_poller(client: httpx.Client) -> None:
    """`GET /` is the documented JSON unless HTML is preferred."""
    response = client.get("/")
    assert response.status_code == 200
    assert (
        response.json().items()
        >= {"status": "healthy", "model": "Miles v1.0", "device": "cpu", "model_loaded": True}.items()
    )


def test_home_is_a_page_for_a_browser(client: httpx.Client) -> None:
    """A browser gets the page, and all that it loads comes from the service."""
    response = client.get("/", headers={"Accept": CHROME})
    assert response.headers["content-type"].startswith("text/html")
    for asset in ("page/page.css", "page/page.js"):
        assert asset in response.text
        assert client.get(f"/{asset}").status_code == 200
    assert "//" not in response.text.replace("<!doctype", "")


def test_head_is_answered_where_get_is(client: httpx.Client) -> None:
    """With the same status and length, without a body; and refused where GET is."""
    paths = ("/", "/health/live", "/health/ready", "/docs", "/page/page.css", "/predict", "/nowhere")
    failures = []
    for path in paths:
        got, head = client.get(path), client.head(path)
        if (head.status_code, head.content) != (got.status_code, b""):
            failures.append(f"{path}: {head.status_code} of {got.status_code}, {len(head.content)} bytes")
    assert failures == []
    assert client.head("/health/live").headers["content-length"] == "18"


def test_html_is_sent_to_clients_that_prefer_it() -> None:
    """Only a client that names text/html, at least as much as JSON, gets the page."""
    html = {CHROME, "text/html", "application/json;q=0.5, text/html"}
    json = {
        *("", "*/*", "application/json", "application/json, text/html;q=0.9"),
        *("text/html;q=0", "text/html;q=abc"),
    }
    assert {accept for accept in html | json if prefers_html(accept)} == html


def test_live_and_ready_are_200(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json()["status"] == "healthy"


def test_the_api_reference_needs_no_internet(client: httpx.Client) -> None:
    """Both references load only our own files, under a policy that allows no others."""
    for path in ("/docs", "/redoc"):
        page = client.get(path)
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assets = re.findall(r'(?:src|href|spec-url)="([^"]+)"', page.text)
        assert len(assets) >= 3
        assert {asset: client.get(f"/{asset}").status_code for asset in assets} == dict.fromkeys(assets, 200)


def test_metrics_count_answers_and_modalities(client: httpx.Client) -> None:
    """Each answer and each modality's state is counted, under the route's template."""
    client.post("/predict", json={"title": "x"})
    client.get("/made/up/by/a/stranger")
    text = client.get("/metrics").text
    assert 'miles_requests_total{method="POST",route="/predict",status="200"}' in text
    assert 'miles_modalities_total{modality="image",state="missing"}' in text
    assert "stranger" not in text
