"""Requests that schemathesis generates from our OpenAPI document, and what every answer must be."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.specs.openapi.checks import response_schema_conformance

ORIGIN = "http://localhost:3000"
PROBLEM_KEYS = {"type", "title", "status", "detail", "instance"}


def operations(url: str) -> Iterator[Any]:
    """Every operation of the service's own document."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for operation in schema.get_all_operations():
        yield operation.ok()


def ask_all(url: str, cases: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Send `cases` requests, shared among the operations that take a body; statuses, and what was wrong."""
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    found = list(operations(url))
    heavy = [operation for operation in found if "requestBody" in operation.definition.raw]
    with requests.Session() as session:
        for operation in found:
            # A route without a body and parameters has no invalid requests, and only a few valid ones.
            modes = [schemathesis.GenerationMode.POSITIVE]
            modes += [schemathesis.GenerationMode.NEGATIVE] if operation in heavy else []
            share = cases // len(heavy) // len(modes) if operation in heavy else 5
            for mode in modes:
                _ask(operation, mode, share, seed, session, seen, wrong)
    return seen, wrong


def _ask(
    operation: Any,
    mode: schemathesis.GenerationMode,
    cases: int,
    seed: int,
    session: requests.Session,
    seen: Counter[str],
    wrong: list[str],
) -> None:
    name = f"{operation.method.upper()} {operation.path}"

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call(session=session, headers={"Origin": ORIGIN})
        seen[f"{name} {answer.status_code}"] += 1
        faults = faults_of(operation, case, answer)
        wrong.extend(f"{name} {answer.status_code}: {fault}" for fault in faults)

    ask()


def faults_of(operation: Any, case: Any, answer: Any) -> list[str]:
    """What is wrong with one answer."""
    faults = []
    if answer.status_code >= 500:
        faults.append("a 5xx")
    documented = operation.definition.raw["responses"].keys()
    if str(answer.status_code) not in documented:
        faults.append("a status that is not documented")
    if answer.headers.get("access-control-allow-origin") != [ORIGIN]:
        faults.append("no CORS header")
    if not answer.headers.get("x-request-id"):
        faults.append("no request id")
    if answer.status_code >= 400:
        problem = answer.json()
        if (
            answer.headers["content-type"] != ["application/problem+json"]
            or not problem.keys() >= PROBLEM_KEYS
        ):
            faults.append(f"no problem: {problem}")
        elif problem["status"] != answer.status_code:
            faults.append(f"a problem about another status: {problem}")
    else:
        case.validate_response(answer, checks=[response_schema_conformance])
    return faults
