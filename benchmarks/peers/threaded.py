"""FastAPI with a plain `def` handler: the framework runs it in a thread pool, and a lock guards the engine.

    python -m benchmarks.peers.threaded PORT

A simple, careful implementation: downloads overlap with inference, nothing is batched.
"""

import sys
import threading
from typing import Any

import uvicorn
from fastapi import Body, FastAPI

from benchmarks.peers.same_engine import Scorer


def create_app(scorer: Scorer) -> FastAPI:
    """The app; one forward at a time."""
    app = FastAPI()
    engine = threading.Lock()

    @app.post("/predict")
    def predict(request: dict[str, Any] = Body()) -> dict[str, float]:  # noqa: B008  FastAPI's own way
        prepared = scorer.fetch_and_prepare(request)
        with engine:
            return scorer.score([prepared])[0]

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Scorer.from_environment()), port=int(sys.argv[1]), log_level="warning")
