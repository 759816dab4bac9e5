"""wrk's report, and how long a server is loaded."""

from pathlib import Path

import pytest

from benchmarks.harness.load import MAX_S, LoadError, enough_seconds, parse_report

RECORDED = (Path(__file__).parent / "wrk_output.txt").read_text(encoding="utf-8")


def test_the_report_is_the_last_line_of_wrks_output() -> None:
    """Requests, seconds and percentiles are wrk's; the recorded server answered every POST with 404."""
    load = parse_report(RECORDED)
    assert (load.requests, load.seconds, load.p50_ms) == (59759, 1.102735, 0.058)
    assert (load.failed, load.throughput) == (load.requests, 0)


def test_other_output_is_an_error() -> None:
    for output in ("", "unable to connect to 127.0.0.1", RECORDED[:300], RECORDED + "\n{}"):
        with pytest.raises(LoadError, match="no JSON report"):
            parse_report(output)


def test_a_slow_server_is_loaded_until_every_client_has_two_answers() -> None:
    """For whole seconds, as wrk takes them, and at most `MAX_S`."""
    cases = {(3, 1, 20): 3, (3, 32, 20): 3, (2.5, 1, 0): 3, (3, 32, 170): 14, (3, 32, 500): MAX_S}
    assert {case: enough_seconds(*case) for case in cases} == cases
