"""wrk's report and how long a server is loaded."""

from pathlib import Path

import pytest

from benchmarks.harness.load import MAX_S, LoadError, enough_seconds, parse_report

RECORDED = (Path(__file__).parent / "wrk_output.txt").read_text(encoding="utf-8")


def test_the_report_is_the_last_line_of_what_wrk_says() -> None:
    """Requests, seconds and percentiles are those that wrk counted."""
    load = parse_report(RECORDED)
    assert (load.requests, load.seconds, load.p50_ms) == (59759, 1.102735, 0.058)


def test_an_answer_other_than_2xx_is_no_throughput() -> None:
    """The recorded server answered every POST with 404."""
    load = parse_report(RECORDED)
    assert load.failed == load.requests
    assert load.throughput == 0


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1", RECORDED[:300], RECORDED + "\n{}"])
def test_anything_else_is_an_error(output: str) -> None:
    """A run that broke off has no figures, instead of wrong ones."""
    with pytest.raises(LoadError, match="no JSON report"):
        parse_report(output)


@pytest.mark.parametrize(
    ("seconds", "clients", "one_client_ms", "expected"),
    [
        (3, 1, 20, 3),
        (3, 32, 20, 3),
        (2.5, 1, 0, 3),  # wrk takes whole seconds
        (3, 32, 170, 14),  # slow servers are loaded until every client has two answers
        (3, 32, 500, MAX_S),
    ],
)
def test_a_slow_server_is_loaded_for_longer(
    seconds: float, clients: int, one_client_ms: float, expected: int
) -> None:
    """Short phases would measure slow servers by their luckiest clients alone."""
    assert enough_seconds(seconds, clients, one_client_ms) == expected
