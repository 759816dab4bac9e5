"""What strangers may send to the running service: thousands of generated requests."""

import pytest

from tests.hostile.conftest import Record
from tests.support.schema_cases import ask_all
from tests.support.service import Service

pytestmark = pytest.mark.hostile
CASES = 2_000


def test_what_strangers_send(tiny_service: Service, promise: Record) -> None:
    seen, faults = ask_all(tiny_service.url, CASES, seed=2026)
    promise(
        "JSON",
        figure=f"{seen.total()} cases of {len({name.rsplit(' ', 1)[0] for name in seen})} operations, "
        f"{len(set(faults))} faults {sorted(set(faults))[:3]}",
        kept=not faults and seen.total() >= CASES,
    )
