"""The service: lifespan and routes. Start reading here.

python app.py                       what `make serve` and the container run
uvicorn --factory app:create_app    the same app under another server
"""

from serving.lifecycle.head_start import Loader, begin_first, load

LOAD = begin_first() if __name__ == "__main__" else load  # in a thread, while the rest is imported

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic.alias_generators import to_camel

from serving.http.answers import BatchResponse, PredictResponse, answered
from serving.http.auth import KEY_DECLARED, SCORES
from serving.http.batch import score_each
from serving.http.explain import ExplainRequest, ExplainResponse, explain_one
from serving.http.form import FORM
from serving.http.info import ABOUT, HOME, UNHEALTHY, Health, health_response, prefers_html
from serving.http.limits import EXPLAIN, PREDICT, PREDICT_BATCH, RELOAD, BodyRoute
from serving.http.middleware import install_middleware
from serving.http.model_info import ModelInfo, describe
from serving.http.page import home_page, install_pages
from serving.http.problems import BATCH, NDJSON, NOT_READY, RELOAD_PROBLEMS, install_error_handlers
from serving.http.requests import BatchRequest, OptionsDep, PredictRequest
from serving.lifecycle.predictor import Predictor, PredictorDep
from serving.lifecycle.reload import Reloaded, Reloader, ReloaderDep
from serving.observability.metrics import Metrics
from serving.observability.tracing import FASTAPI_OFF
from serving.process.server import main
from serving.scoring.admission import Admission
from serving.settings import Settings

router = APIRouter(route_class=BodyRoute)


@router.post(PREDICT, **SCORES, openapi_extra=FORM)
async def predict(
    body: PredictRequest, request: Request, response: Response, predictor: PredictorDep, options: OptionsDep
) -> PredictResponse:
    """Score one video; `?timings=1` adds the time spent per stage."""
    prediction = await predictor.predict(body.charged(request.scope), request.scope["deadline"])
    request.state.metrics.count_prediction(prediction)
    if options.timings:
        response.headers["Server-Timing"] = prediction.watch.server_timing()
    return await answered(prediction, options, request.scope)


@router.post(PREDICT_BATCH, **SCORES | {"responses": BATCH}, response_model=BatchResponse)
async def predict_batch(
    body: BatchRequest, request: Request, predictor: PredictorDep, options: OptionsDep
) -> Any:
    """Score up to 256 videos; `Accept: application/x-ndjson` streams each result as it is ready."""
    started = time.perf_counter()
    predictor.require_ready()
    entries = score_each(predictor, body.videos, request.scope, request.state.metrics, options=options)
    if NDJSON in request.headers.get("accept", ""):
        lines = (json.dumps({"index": index, **entry.model_dump()}) + "\n" async for index, entry in entries)
        return StreamingResponse(lines, media_type=NDJSON)
    finished = {index: entry async for index, entry in entries}
    return BatchResponse(
        predictions=[finished[index] for index in range(len(body.videos))],
        processing_time_ms=round((time.perf_counter() - started) * 1000),
    )


@router.post(EXPLAIN, **SCORES)
async def explain(body: ExplainRequest, request: Request, predictor: PredictorDep) -> ExplainResponse:
    """Score one video, explain the score, and score up to 16 variations of the video."""
    return await explain_one(body, predictor, request.scope, request.state.metrics)


@router.get("/", tags=["health"], response_model=Health, responses=HOME)
async def home(request: Request, predictor: PredictorDep) -> Response:
    """Health as JSON; the web page for browsers."""
    if prefers_html(request.headers.get("accept", "")):
        return home_page(predictor.settings.frame_ancestors)
    return health_response(predictor, {"Vary": "Accept"})


@router.get("/model/info", tags=["model"], responses=NOT_READY)
async def model_info(predictor: PredictorDep) -> ModelInfo:
    """Details of the model in service: everything that a score depends on."""
    return describe(predictor.require_ready(), predictor.settings)


@router.post(RELOAD, tags=["model"], responses=RELOAD_PROBLEMS, dependencies=[KEY_DECLARED])
async def reload(reloader: ReloaderDep) -> Reloaded:
    """Reload the checkpoint and switch to it without downtime; requires an API key."""
    return await reloader.reload()


@router.get("/health/live", tags=["health"])
async def live() -> dict[str, str]:
    """Liveness: the process responds."""
    return {"status": "alive"}


@router.get("/health/ready", tags=["health"], response_model=Health, responses=UNHEALTHY)
async def ready(predictor: PredictorDep) -> Response:
    """Readiness: the model is loaded and has reproduced its golden answers."""
    return health_response(predictor)


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return Response(await request.state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def create_app(
    settings: Settings | None = None, on_failure: Callable[[str], None] = lambda _: None, load: Loader = LOAD
) -> FastAPI:
    """The app, which loads the model in the background; `on_failure` gets the reason if there is no model."""
    settings = settings or Settings.from_environment()
    metrics = Metrics()
    admission = Admission(settings.max_queue_size, metrics.registry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with Predictor.open(settings, admission, on_failure, load) as predictor:
            metrics.watch(predictor)
            reloader = Reloader(predictor, metrics.registry)
            yield {"predictor": predictor, "metrics": metrics, "reloader": reloader}

    app = FastAPI(
        **ABOUT,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: to_camel(route.name),
        redirect_slashes=False,  # a redirect would echo the client's Host header
        **FASTAPI_OFF,
    )
    app.include_router(router)
    install_pages(app, settings)
    install_error_handlers(app, router)
    install_middleware(app, settings, metrics, admission)
    return app


if __name__ == "__main__":
    raise SystemExit(main(create_app))
