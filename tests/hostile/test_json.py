"""What strangers may send to the running service: thousands of made-up requests, a hundred fixed ones."""

from pathlib import Path

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.payloads import PAYLOADS
from tests.support.schema_cases import ORIGIN, PROBLEM_KEYS, ask_all
from tests.support.service import ready_service
from tests.support.tiny import write_tiny

pytestmark = pytest.mark.hostile
CASES = 2_000


def judged(client: httpx.Client, body: bytes, wanted: tuple[int, ...]) -> str | None:
    headers = {"Content-Type": "application/json", "Origin": ORIGIN}
    answer = client.post("/predict", content=body, headers=headers)
    if answer.status_code not in wanted:
        return f"{body[:60]!r}: {answer.status_code}, not {wanted}"
    if answer.headers.get("access-control-allow-origin") != ORIGIN or not answer.headers["x-request-id"]:
        return f"{body[:60]!r}: no CORS or no request id"
    if answer.status_code != 200 and not answer.json().keys() >= PROBLEM_KEYS:
        return f"{body[:60]!r}: no problem"
    return None


def test_what_strangers_send(tmp_path: Path, promise: Record) -> None:
    checkpoint = write_tiny(tmp_path / "tiny.pt")
    with ready_service(tmp_path / "log", checkpoint=checkpoint, precision="f32") as service:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            wrong = [fault for body, wanted in PAYLOADS if (fault := judged(client, body, wanted))]
        seen, faults = ask_all(service.url, CASES, seed=2026)
    promise(
        "JSON",
        figure=f"{seen.total()} cases of {len({name.rsplit(' ', 1)[0] for name in seen})} operations, "
        f"{len(set(faults))} faults {sorted(set(faults))[:3]}; "
        f"{len(PAYLOADS) - len(wrong)} of {len(PAYLOADS)} fixed payloads as wanted {wrong[:3]}",
        kept=not faults and not wrong and seen.total() >= CASES and len(PAYLOADS) >= 100,
    )
