"""A tower by itself and the engine that calls it, on the tiny network, without Ray between them."""

import asyncio
import base64
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from prometheus_client import CollectorRegistry

from deploy.ray.tower import TowerServer
from deploy.ray.tower_engine import CallTower, TowerFullError, TowerLostError, TowersEngine
from features import Video
from model.compile.calibration_set import draw_images
from model.compiled.bundle import Bundle, read_bundle
from model.compiled.engine import OpenVinoEngine
from serving.errors import EngineFailedError, NotReadyError, OverloadedError
from serving.lifecycle.loading import EngineFactory, in_process_engine, load_checked
from serving.lifecycle.predictor import Predictor
from serving.scoring.admission import Admission
from serving.scoring.pipeline import ScoringRequest
from serving.scoring.towers import TowerName
from serving.settings import Settings, SettingsError
from tests.serving.scoring.test_batching import until
from tests.support.process import LIMIT_S
from tests.support.thumbnail_host import picture
from tests.support.tiny import SIDE

IDS, TYPES = [[101, 2129, 102], [101, 2129, 2079, 102]], [[0, 0, 0], [0, 0, 0, 0]]
TEXTS = list(zip(IDS, TYPES, strict=True))
PIXELS = draw_images(2, SIDE, SIDE, seed=5)
SCALARS = np.ones((2, 18), np.float32)
Towers = dict[TowerName, CallTower]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def towers(tiny_bundle: Path) -> Iterator[Towers]:
    settings = Settings(checkpoint=str(tiny_bundle), threads=1, max_batch_size=1)
    with start_blocking_portal() as portal, ExitStack() as stack:
        names: tuple[TowerName, ...] = ("text", "image")
        yield {name: called(stack, portal, settings, name) for name in names}


def called(stack: ExitStack, portal: BlockingPortal, settings: Settings, name: TowerName) -> CallTower:
    server = stack.enter_context(portal.wrap_async_context_manager(TowerServer.open(settings, name)))

    def call(fingerprint: str, items: Any, timeout_s: float) -> Any:
        assert timeout_s > 0
        return portal.call(server.encode, fingerprint, items)

    return call


def failing(tower: CallTower, failures: Sequence[Exception | None]) -> CallTower:
    """A tower whose first calls end with these; None is a refusal."""
    left = list(failures)

    def first_fail(fingerprint: str, items: Any, timeout_s: float) -> Any:
        if left:
            if (failure := left.pop(0)) is None:
                return None
            raise failure
        return tower(fingerprint, items, timeout_s)

    return first_fail


def test_separate_towers_give_the_vectors_of_one_process(
    bundle: Bundle, towers: Towers, tmp_path: Path
) -> None:
    """Row by row, so scores are the same too; the caller needs only the fusion's graph."""
    directory = Path(shutil.copytree(bundle.directory, tmp_path / "fusion"))
    for graph in (*directory.glob("text.*"), *directory.glob("image.*")):
        graph.unlink()
    local, engine = (
        OpenVinoEngine(bundle, 1),
        TowersEngine(replace(bundle, directory=directory), 1, towers, LIMIT_S),
    )
    engine.wait_until_ready()
    text, image = engine.encode_text(IDS, TYPES), engine.encode_image(PIXELS)
    for row in range(2):
        np.testing.assert_array_equal(text[row], local.encode_text([IDS[row]], [TYPES[row]])[0])
        np.testing.assert_array_equal(image[row], local.encode_image(PIXELS[row : row + 1])[0])
    here, there = (each.score(text, image, SCALARS) for each in (local, engine))
    np.testing.assert_array_equal(there.viral, here.viral)


def test_tower_of_another_checkpoint_refuses(bundle: Bundle, towers: Towers) -> None:
    """Each call, and the client is told to retry, unless another replica is found."""
    other = replace(bundle, card=bundle.card.model_copy(update={"sha256": "1" * 64}))
    with pytest.raises(NotReadyError, match="The text tower serves another checkpoint"):
        TowersEngine(other, 1, towers, LIMIT_S).encode_text(IDS, TYPES)
    replaced: Towers = {**towers, "image": failing(towers["image"], [None, None])}
    assert TowersEngine(bundle, 1, replaced, LIMIT_S).encode_image(PIXELS).shape == (2, 64)


def test_a_lost_call_is_repeated_once(bundle: Bundle, towers: Towers) -> None:
    """One loss has no effect; a second loss, a full tower or a late one is a 503 with Retry-After."""

    def encode_after(*failures: Exception) -> Any:
        failed: Towers = {**towers, "text": failing(towers["text"], failures)}
        return TowersEngine(bundle, 1, failed, LIMIT_S).encode_text(IDS, TYPES)

    assert encode_after(TowerLostError()).shape == (2, 64)
    with pytest.raises(NotReadyError, match="ended twice"):
        encode_after(TowerLostError(), TowerLostError())
    for error, line in (TowerFullError(), "at capacity"), (TimeoutError(), "did not respond in 300 s"):
        with pytest.raises(OverloadedError, match=f"The text tower .*{line}. Retry in 2 s.") as caught:
            encode_after(error)
        assert caught.value.retry_after_s == 2


@pytest.mark.anyio
async def test_service_on_separate_towers_scores_like_one_process(tiny_bundle: Path, towers: Towers) -> None:
    """For many videos at once, with pictures, to the last digit."""

    def separate(bundle: Bundle, threads: int) -> TowersEngine:
        return TowersEngine(bundle, threads, towers, LIMIT_S)

    pictures = [f"data:image/jpeg;base64,{base64.b64encode(picture(seed)).decode()}" for seed in range(4)]
    requests = [
        ScoringRequest(Video(title=f"video {number}"), thumbnail_url=pictures[number % 5])
        if number % 5 < 4
        else ScoringRequest(Video(title=f"video {number}", view_count=number))
        for number in range(30)
    ]
    assert await scores(tiny_bundle, requests, separate) == await scores(
        tiny_bundle, requests, in_process_engine
    )


async def scores(tiny_bundle: Path, requests: Sequence[ScoringRequest], factory: EngineFactory) -> list[Any]:
    settings = Settings(checkpoint=str(tiny_bundle), threads=1, max_batch_size=1)
    admission = Admission(64, CollectorRegistry())
    async with Predictor.open(
        settings, admission, load=partial(load_checked, engine_factory=factory)
    ) as predictor:
        await until(lambda: predictor.status != "loading")
        answers = await asyncio.gather(*map(predictor.predict, requests))
    assert {answer.modalities["image"].state for answer in answers} == {"used", "missing"}
    return [(answer.viral_score, answer.velocity) for answer in answers]


class Cued(OpenVinoEngine):
    """Waits for its gate before each forward of texts, and fails once it is broken."""

    gate: threading.Event
    broken = False

    def encode_text(self, input_ids: Any, token_type_ids: Any) -> Any:
        self.gate.wait()
        if self.broken:
            raise MemoryError("on cue")
        return super().encode_text(input_ids, token_type_ids)


@asynccontextmanager
async def cued(tiny_bundle: Path, **settings: Any) -> AsyncIterator[tuple[TowerServer, Any]]:
    def build(bundle: Bundle, threads: int) -> Cued:
        engine = Cued(bundle, threads, ("text",))
        engine.gate = threading.Event()
        engine.gate.set()
        return engine

    own = Settings(checkpoint=str(tiny_bundle), threads=1, **settings)
    async with TowerServer.open(own, "text", build) as server:
        engine: Any = server.tower.model.engine
        try:
            yield server, engine
        finally:
            engine.gate.set()


@pytest.mark.anyio
async def test_calls_during_a_forward_are_the_next_batch(tiny_bundle: Path) -> None:
    """Each caller gets its own rows."""
    async with cued(tiny_bundle) as (server, engine):
        queue, fingerprint = server.tower.queue, server.tower.model.fingerprint
        expected = [await server.encode(fingerprint, [text]) for text in TEXTS]
        queue.batches.clear()
        engine.gate.clear()
        first = asyncio.create_task(server.encode(fingerprint, TEXTS[:1]))
        await until(lambda: queue.running is not None)
        callers = [asyncio.create_task(server.encode(fingerprint, [text])) for text in TEXTS]
        await until(lambda: queue.depth == len(TEXTS))
        engine.gate.set()
        await first
        for caller, vectors in zip(callers, expected, strict=True):
            np.testing.assert_allclose(await caller, vectors, rtol=0, atol=1e-5)  # type: ignore[arg-type]
        assert queue.batches == {1: 1, 2: 1}


@pytest.mark.anyio
async def test_tower_that_fails_on_everything_reports_it(tiny_bundle: Path) -> None:
    """After eight failures it is probed; it is healthy until the probe has failed."""
    async with cued(tiny_bundle) as (server, engine):
        engine.broken = True
        for _ in range(8):
            assert server.problem is None
            with pytest.raises(MemoryError):
                await server.encode(server.tower.model.fingerprint, TEXTS)
        await until(lambda: server.problem is not None)
        assert server.problem == "the model fails on every input: MemoryError: on cue"


@pytest.mark.anyio
async def test_tower_that_hangs_reports_it(tiny_bundle: Path) -> None:
    """Its callers get an error."""
    async with cued(tiny_bundle, forward_timeout_s=4) as (server, engine):
        engine.gate.clear()
        with pytest.raises(EngineFailedError, match="stopped responding"):
            await server.encode(server.tower.model.fingerprint, TEXTS)
        assert server.problem is not None
        assert "did not finish within 4 s" in server.problem


@pytest.mark.anyio
async def test_separate_towers_need_a_compiled_bundle() -> None:
    with pytest.raises(SettingsError, match=r"deploy\.ray_serve:app"):
        async with TowerServer.open(Settings(engine="torch"), "text"):
            pass
