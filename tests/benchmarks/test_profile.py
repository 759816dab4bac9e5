"""The event loop's activity, from samples as py-spy writes them."""

from benchmarks.profile import LOOP, activity_of, event_loop_shares

LOOP_FRAMES = [
    "<module> (app.py:145)",
    "Server.run (uvicorn/server.py:86)",
    "Runner.run (asyncio/runners.py:118)",
]
MIDDLEWARE = "RequestContext.__call__ (serving/http/middleware.py:87)"
THUMBNAIL = "ThumbnailCache._download (serving/scoring/thumbnails.py:119)"
ACTIVITIES = [
    ([], LOOP),
    (["predict (app.py:58)", "BertTextTokenizer._pieces (preprocessing/text.py:103)"], "tokenise"),
    ([THUMBNAIL, "send (anyio/_backends/a.py:1)"], "download"),
    ([MIDDLEWARE, "Logger.info (logging/__init__.py:1489)"], "logs and metrics"),
    (["run_asgi (uvicorn/protocols/http/httptools_impl.py:422)"], "HTTP"),
    (
        ["_waiter (serving/scoring/batching.py:90)", "submit (concurrent/futures/thread.py:172)"],
        "queues and caches",
    ),
]


def test_the_innermost_known_function_names_the_activity() -> None:
    """A library's work counts for its caller; the loop's own functions do not count as an activity."""
    found = [(frames, activity_of([*LOOP_FRAMES, *frames])) for frames, _ in ACTIVITIES]
    assert found == ACTIVITIES


def test_shares_are_of_the_event_loops_samples() -> None:
    """Samples of other threads, and inconsistent ones, are ignored."""
    loop = ";".join(["thread (1): MainThread", *LOOP_FRAMES])
    raw = (
        f"{loop} 30\n{loop};encode (preprocessing/text.py:1) 10\n"
        "thread (2): forward_0;infer (ov.py:1) 99\nthread (1): MainThread 5"
    )
    assert event_loop_shares(raw) == {LOOP: 0.75, "tokenise": 0.25}
