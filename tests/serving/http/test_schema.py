"""Requests that schemathesis generates from our OpenAPI document; `make hostile` sends 30 times as many."""

from tests.support.service import Service


def test_made_up_requests_are_answered_as_documented(service: Service) -> None:
    """Every operation answers with a documented status, a problem where it refuses, CORS and a request id."""
    from tests.support.schema_cases import ask_all  # imports schemathesis, which takes seconds

    seen, faults = ask_all(service.url, cases=60, seed=1)
    assert faults == []
    asked = {name.rsplit(" ", 1)[0] for name in seen}
    assert asked >= {"GET /", "POST /predict", "POST /predict/batch", "POST /explain"}
    assert {name.rsplit(" ", 1)[1] for name in seen} >= {"200", "422"}
