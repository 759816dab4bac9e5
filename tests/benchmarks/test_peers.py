"""Each peer answers one video on a tiny network, with the score that its engine gives."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from benchmarks.harness.contestants import PEERS_PYTHON, Contestant, StartError, contestants, running
from benchmarks.harness.workload import Workload
from benchmarks.peers.afternoon import INPUTS
from benchmarks.peers.same_engine import BUNDLE, Scorer
from benchmarks.peers.threaded import create_app as create_threaded
from features import FeatureScaler, Video, compute_features
from model.checkpoint.store import read_checkpoint
from model.torch_engine import TorchEngine
from preprocessing.image import ImageSpec
from preprocessing.pixels import decode_image
from preprocessing.text import BertTextTokenizer, TextSpec
from tests.support.process import completed
from tests.support.tiny import SIDE, tiny_checkpoint

needs_peers = pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="peers are installed by `make bench`")


def reference(video: Mapping[str, Any]) -> float:
    """The score of a video in plain steps, by the float32 network."""
    card = tiny_checkpoint().card
    engine = TorchEngine(tiny_checkpoint())
    tokens = BertTextTokenizer.from_vocabulary(spec=TextSpec(card.text_fields, card.max_tokens)).encode(
        video["title"], video["description"]
    )
    pixels = decode_image(httpx.get(video["thumbnail_url"]).content, ImageSpec(SIDE, SIDE))
    scaler = FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
    scalars = scaler.transform(compute_features([Video.from_plain(video)], card.scalar_features))
    text = engine.encode_text([tokens.input_ids], [tokens.token_type_ids])
    return float(engine.score(text, engine.encode_image(pixels[None]), scalars).viral[0])


@pytest.fixture
def video(host: str) -> dict[str, Any]:
    """A video whose picture is on the host."""
    return Workload(host).new_videos(1)[0]


def contestant(name: str, tiny_path: Path, tiny_bundle: Path) -> Contestant:
    """A server on the tiny network."""
    return next(each for each in contestants(tiny_path, tiny_bundle) if each.name == name)


async def answer_of(app: FastAPI, video: Mapping[str, Any]) -> dict[str, float]:
    """The app's answer, without a socket."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://peer") as client:
        answer: dict[str, float] = (await client.post("/predict", json=dict(video))).json()
        return answer


@pytest.mark.anyio
async def test_threaded_gives_the_networks_score(
    tiny_bundle: Path, video: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our engine behind FastAPI's pool of threads."""
    monkeypatch.setenv(BUNDLE, str(tiny_bundle))
    answer = await answer_of(create_threaded(Scorer.from_environment()), video)
    assert answer["viral_score"] == pytest.approx(reference(video), abs=1e-3)


@pytest.mark.anyio
async def test_seed_answers_with_a_probability(tiny_path: Path, video: dict[str, Any]) -> None:
    """Its counts are unscaled, so any score will do; its confidence is that of the likelier class."""
    from benchmarks.peers.seed import create_app  # imports transformers and torchvision, which takes seconds

    answer = await answer_of(create_app(read_checkpoint(tiny_path)), video)
    assert answer["confidence"] == pytest.approx(max(answer["viral_score"], 1 - answer["viral_score"]))


@needs_peers
@pytest.mark.parametrize("name", ["litserve", "bentoml", "mosec"])
def test_peers_give_the_networks_score(
    name: str, tiny_path: Path, tiny_bundle: Path, video: dict[str, Any], tmp_path: Path
) -> None:
    """Our engine behind another server, in its own environment and process."""
    with running(contestant(name, tiny_path, tiny_bundle), tmp_path, video) as server:
        assert server.predict(video)["viral_score"] == pytest.approx(reference(video), abs=1e-3)
        assert server.start_s > 0


NAMES = """
import sys, onnxruntime
for file in sys.argv[1:]:
    print(*(each.name for each in onnxruntime.InferenceSession(file).get_inputs()))
"""


@needs_peers
def test_an_exported_network_takes_what_afternoon_gives_it(tiny_path: Path, tmp_path: Path) -> None:
    """The export keeps every input, including the mask, which a text without padding does not need."""
    completed([sys.executable, "-m", "benchmarks.peers.afternoon", "export", tmp_path, tiny_path], check=True)
    files = [tmp_path / f"{name}.onnx" for name in INPUTS]
    done = completed([PEERS_PYTHON, "-c", NAMES, *files], check=True)
    assert done.stdout.splitlines() == [" ".join(names) for names in INPUTS.values()]


def test_miles_without_its_guards_gives_the_networks_score(
    tiny_path: Path, tiny_bundle: Path, video: dict[str, Any], tmp_path: Path
) -> None:
    """Removing the guards leaves the answer the same, and none of the middleware remains."""
    with running(contestant("unguarded", tiny_path, tiny_bundle), tmp_path, video) as server:
        answer = server.predict(video)
        assert answer["viral_score"] == pytest.approx(reference(video), abs=1e-3)
        assert answer["modalities"]["image"]["state"] == "used"


EARLIER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.dumps({"folder": os.getcwd(), "checkpoint": os.environ["MILES_CHECKPOINT"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(os.environ["MILES_PORT"])), Answer).serve_forever()
"""


def test_an_earlier_miles_runs_in_its_checkout(tiny_path: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """Its app.py is started with the bundle in that checkout."""
    (tmp_path / "app.py").write_text(EARLIER, encoding="utf-8")
    _, before, *_ = contestants(tiny_path, tiny_bundle, tmp_path)
    with running(before, tmp_path, {}) as server:
        folder = str(tmp_path.resolve())
        assert server.predict({}) == {"folder": folder, "checkpoint": f"{folder}/bundle"}


def test_a_peer_that_is_not_installed_says_so(
    tiny_path: Path, tiny_bundle: Path, video: dict[str, Any], tmp_path: Path
) -> None:
    """A missing environment is a reason, never silence."""
    absent = replace(contestant("bentoml", tiny_path, tiny_bundle), command=[str(tmp_path / "python")])
    with pytest.raises(StartError, match="not installed"), running(absent, tmp_path, video):
        pass


def test_a_server_that_ends_at_once_says_why(tiny_path: Path, video: dict[str, Any], tmp_path: Path) -> None:
    """Its last line of output is the reason."""
    peer = contestant("threaded", tiny_path, tmp_path / "no-bundle")
    with pytest.raises(StartError, match="cannot be read"), running(peer, tmp_path, video):
        pass


def test_batches_are_scored_row_by_row(tiny_bundle: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of different lengths gives each video its own score."""
    monkeypatch.setenv(BUNDLE, str(tiny_bundle))
    scorer = Scorer.from_environment()
    prepared = [scorer.fetch_and_prepare(video) for video in Workload(host).new_videos(5)]
    together = [answer["viral_score"] for answer in scorer.score(prepared)]
    alone = [scorer.score([video])[0]["viral_score"] for video in prepared]
    assert np.allclose(together, alone, atol=1e-4)
