"""A tower by itself and the engine that asks it, on the tiny network, without Ray between them."""

import asyncio
import base64
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from prometheus_client import CollectorRegistry

from deploy.ray.tower import Step, Tower
from deploy.ray.tower_engine import Ask, TowerFullError, TowerLostError, TowersEngine
from features import Video
from model.compile.calibration_set import draw_images
from model.compiled.bundle import Bundle, read_bundle
from model.compiled.engine import OpenVinoEngine
from serving.errors import NotReadyError, OverloadedError
from serving.lifecycle.loading import EngineFactory, in_process_engine, load_model
from serving.lifecycle.predictor import Predictor
from serving.scoring.admission import Admission
from serving.scoring.pipeline import ScoringRequest
from serving.settings import Settings, SettingsError
from tests.support.thumbnail_host import picture

IDS, TYPES = [[101, 2129, 102], [101, 2129, 2079, 102]], [[0, 0, 0], [0, 0, 0, 0]]
TEXTS = list(zip(IDS, TYPES, strict=True))
PIXELS = draw_images(2, 224, 224, seed=5)


@pytest.fixture(scope="module")
def path(tiny_bundle: Path) -> Path:
    """The tiny network, compiled."""
    return tiny_bundle


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    """The same, read."""
    return read_bundle(path)


@pytest.fixture(scope="module")
def other(bundle: Bundle) -> Bundle:
    """A bundle of the same graphs that was made from another checkpoint."""
    return replace(bundle, card=replace(bundle.card, sha256="1" * 64))


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """The event loop that the towers live in."""
    with start_blocking_portal() as started:
        yield started


@pytest.fixture(scope="module")
def ask(path: Path, portal: BlockingPortal) -> Iterator[dict[Step, Ask]]:
    """Both towers."""
    settings = Settings(checkpoint=str(path), threads=1, max_batch_size=1)
    with ExitStack() as stack:
        steps: tuple[Step, ...] = ("text", "image")
        yield {step: asked(stack, portal, settings, step) for step in steps}


def asked(stack: ExitStack, portal: BlockingPortal, settings: Settings, step: Step) -> Ask:
    """A tower's answers."""
    tower = stack.enter_context(portal.wrap_async_context_manager(Tower.open(settings, step)))

    def ask(fingerprint: str, items: Any, timeout_s: float) -> Any:
        assert timeout_s > 0
        return portal.call(tower.encode, fingerprint, items)

    return ask


def test_towers_apart_give_the_whole_engine_s_vectors(bundle: Bundle, ask: dict[Step, Ask]) -> None:
    """Row by row, and the scores made of them."""
    local, engine = OpenVinoEngine(bundle, 1), TowersEngine(bundle, 1, ask, 5)
    engine.wait()
    text, image, scalars = engine.encode_text(IDS, TYPES), engine.encode_image(PIXELS), np.ones((2, 18), "f")
    for row in range(2):
        np.testing.assert_array_equal(
            text[row], local.encode_text(IDS[row : row + 1], TYPES[row : row + 1])[0]
        )
        np.testing.assert_array_equal(image[row], local.encode_image(PIXELS[row : row + 1])[0])
    np.testing.assert_array_equal(
        engine.score(text, image, scalars).viral, local.score(text, image, scalars).viral
    )


def test_an_ingress_reads_no_tower_s_graph(bundle: Bundle, ask: dict[Step, Ask], tmp_path: Path) -> None:
    """Where only the fusion's is there, it fuses and asks."""
    directory = Path(shutil.copytree(bundle.directory, tmp_path / "fusion"))
    for graph in (*directory.glob("text.*"), *directory.glob("image.*")):
        graph.unlink()
    engine = TowersEngine(replace(bundle, directory=directory), 1, ask, 5)
    engine.wait()
    assert engine.score(engine.encode_text(IDS, TYPES), engine.encode_image(PIXELS), np.ones((2, 18), "f"))


def test_a_tower_of_another_checkpoint_is_never_taken_for_ours(
    bundle: Bundle, other: Bundle, ask: dict[Step, Ask]
) -> None:
    """It refuses each question, and who asked is told to come back, unless another replica is found."""
    engine = TowersEngine(other, 1, ask, 5)
    with pytest.raises(NotReadyError, match="The text tower serves another checkpoint"):
        engine.encode_text(IDS, TYPES)
    replaced = {"image": failing(ask["image"], [None, None])}
    found = TowersEngine(bundle, 1, ask | replaced, 5).encode_image(PIXELS)  # type: ignore[operator]
    assert found.shape == (2, 512)


@pytest.mark.parametrize(
    ("failures", "refusal"),
    [
        ([TowerLostError()], None),
        ([TowerLostError(), TowerLostError()], NotReadyError),
        ([TowerFullError()], OverloadedError),
        ([TimeoutError()], OverloadedError),
    ],
)
def test_a_lost_tower_is_asked_once_more(
    bundle: Bundle, ask: dict[Step, Ask], failures: list[Exception], refusal: type[Exception] | None
) -> None:
    """Lost once costs nothing; lost twice, full or late is a 503 that says when to come back."""
    engine = TowersEngine(bundle, 1, ask | {"text": failing(ask["text"], failures)}, 5)
    if refusal is None:
        assert engine.encode_text(IDS, TYPES).shape == (2, 64)
        return
    with pytest.raises(refusal) as caught:
        engine.encode_text(IDS, TYPES)
    assert caught.value.retry_after_s  # type: ignore[attr-defined]


def failing(ask: Ask, failures: Sequence[Exception | None]) -> Ask:
    """A tower whose first questions end like this; None is a refusal."""
    left = list(failures)

    def first_fail(fingerprint: str, items: Any, timeout_s: float) -> Any:
        if left:
            if (failure := left.pop(0)) is None:
                return None
            raise failure
        return ask(fingerprint, items, timeout_s)

    return first_fail


@pytest.mark.anyio
async def test_a_service_on_towers_apart_scores_as_the_whole(path: Path, ask: dict[Step, Ask]) -> None:
    """Many videos at once, pictures included, each to the last digit."""

    def apart(bundle: Bundle, threads: int) -> TowersEngine:
        return TowersEngine(bundle, threads, ask, 5)

    pictures = [f"data:image/jpeg;base64,{base64.b64encode(picture(seed)).decode()}" for seed in range(4)]
    asked = [
        ScoringRequest(Video(title=f"video {number}"), thumbnail_url=pictures[number % 5])
        if number % 5 < 4
        else ScoringRequest(Video(title=f"video {number}", view_count=number))
        for number in range(30)
    ]
    assert await scores(path, asked, apart) == await scores(path, asked, in_process_engine)


async def scores(
    path: Path, asked: Sequence[ScoringRequest], engine_factory: EngineFactory
) -> list[tuple[Any, ...]]:
    """What a service on that engine says, asked for all at once."""
    settings = Settings(checkpoint=str(path), threads=1, max_batch_size=1)
    async with Predictor.open(
        settings, Admission(64, CollectorRegistry()), engine_factory=engine_factory
    ) as predictor:
        while predictor.status == "loading":  # noqa: ASYNC110  it says so to whoever asks, as a probe does
            await asyncio.sleep(0.02)
        answers = await asyncio.gather(*map(predictor.predict, asked))
    assert {answer.modalities["image"].state for answer in answers} == {"used", "missing"}
    return [(answer.viral_score, answer.velocity) for answer in answers]


class Cued(OpenVinoEngine):
    """Waits for its gate before each forward of texts, and fails once it is broken."""

    gate: threading.Event
    broken = False

    def encode_text(self, input_ids: Any, token_type_ids: Any) -> Any:
        """The text tower, unless it is broken."""
        self.gate.wait(10)
        if self.broken:
            raise MemoryError("on cue")
        return super().encode_text(input_ids, token_type_ids)


@asynccontextmanager
async def cued(path: Path, **settings: Any) -> Any:
    """A text tower with its engine, which fails on cue."""
    own = Settings(checkpoint=str(path), threads=1, **settings)

    def build(bundle: Bundle, threads: int) -> Cued:
        engine = Cued(bundle, threads, ("text",))
        engine.gate = threading.Event()
        engine.gate.set()
        return engine

    with ThreadPoolExecutor(1) as forward:
        model = load_model(own, build)
        tower = Tower(model, "text", forward, own)
        async with tower.running():
            yield tower, model.engine
            model.engine.gate.set()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_what_several_callers_ask_meanwhile_is_one_forward(path: Path) -> None:
    """Each gets its own rows."""
    async with cued(path) as (tower, engine):
        known = tower.model.fingerprint
        alone = [await tower.encode(known, [text]) for text in TEXTS]
        tower.queue.batches.clear()
        engine.gate.clear()
        first = asyncio.create_task(tower.encode(known, TEXTS[:1]))
        await asyncio.sleep(0.05)
        callers = [asyncio.create_task(tower.encode(known, [text])) for text in TEXTS]
        await asyncio.sleep(0.05)
        engine.gate.set()
        await first
        for caller, vector in zip(callers, alone, strict=True):
            np.testing.assert_allclose(await caller, vector, rtol=0, atol=1e-5)
        assert tower.queue.batches == {1: 1, 2: 1}


@pytest.mark.anyio
async def test_a_tower_that_fails_on_everything_says_so(path: Path) -> None:
    """After eight failures it asks itself; until then, and when it can answer, all is well."""
    async with cued(path) as (tower, engine):
        engine.broken = True
        for _ in range(8):
            assert tower.problem is None
            with pytest.raises(MemoryError):
                await tower.encode(tower.model.fingerprint, TEXTS)
        while tower.problem is None:  # noqa: ASYNC110  it says so to whoever asks, as Ray does
            await asyncio.sleep(0.05)
        assert "fails on every input" in tower.problem


@pytest.mark.anyio
async def test_a_tower_that_hangs_says_so(path: Path) -> None:
    """And whoever waits for it is told."""
    async with cued(path, forward_timeout_s=0.3) as (tower, engine):
        engine.gate.clear()
        with pytest.raises(Exception, match="stopped responding"):
            await tower.encode(tower.model.fingerprint, TEXTS)
        assert "did not finish within 0.3 s" in tower.problem
        engine.gate.set()


@pytest.mark.anyio
async def test_towers_of_torch_are_not_taken_apart() -> None:
    """The setting is refused, and the sentence names the way that there is."""
    with pytest.raises(SettingsError, match=r"deploy\.ray_serve:app"):
        async with Tower.open(Settings(engine="torch"), "text"):
            pass
