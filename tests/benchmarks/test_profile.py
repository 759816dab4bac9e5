"""What the event loop is said to be at, from samples as py-spy writes them."""

import pytest

from benchmarks.profile import LOOP, activity_of, event_loop_shares

LOOP_FRAMES = [
    "<module> (app.py:145)",
    "Server.run (uvicorn/server.py:86)",
    "Runner.run (asyncio/runners.py:118)",
]


@pytest.mark.parametrize(
    ("frames", "place"),
    [
        ([], LOOP),
        (["predict (app.py:58)", "BertTextTokenizer._pieces (preprocessing/text.py:103)"], "tokenise"),
        (
            [
                "ThumbnailCache._download (serving/scoring/thumbnails.py:119)",
                "send (anyio/_backends/a.py:1)",
            ],
            "download",
        ),
        (
            [
                "RequestContext.__call__ (serving/http/middleware.py:87)",
                "Logger.info (logging/__init__.py:1489)",
            ],
            "logs and metrics",
        ),
        (["run_asgi (uvicorn/protocols/http/httptools_impl.py:422)"], "HTTP"),
        (
            ["_waiter (serving/scoring/batching.py:90)", "submit (concurrent/futures/thread.py:172)"],
            "queues and caches",
        ),
    ],
)
def test_the_innermost_known_function_names_the_place(frames: list[str], place: str) -> None:
    """What a library does counts for whoever called it; the loop's own functions count for nobody."""
    assert activity_of([*LOOP_FRAMES, *frames]) == place


def test_shares_are_of_the_event_loops_samples_alone() -> None:
    """Other threads' samples, and torn ones, are left out."""
    loop = ";".join(["thread (1): MainThread", *LOOP_FRAMES])
    raw = "\n".join(
        [
            f"{loop} 30",
            f"{loop};encode (preprocessing/text.py:1) 10",
            "thread (2): forward_0;infer (ov.py:1) 99",
            "thread (1): MainThread 5",
        ]
    )
    assert event_loop_shares(raw) == {LOOP: 0.75, "tokenise": 0.25}
