"""The process: exit codes, one clear line, signals."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.service import ROOT, ready_service, run_to_end, started_factory
from tests.support.tiny import write_tiny


def test_missing_checkpoint_ends_in_one_line_and_exit_1(tmp_path: Path) -> None:
    """A service without its checkpoint says which file is missing and what to do, and ends."""
    ended = run_to_end(checkpoint=tmp_path / "absent.pt")
    assert ended.returncode == 1
    line = ended.stderr.strip().splitlines()[-1]
    assert str(tmp_path / "absent.pt") in line
    assert "make model" in line
    assert "Traceback" not in ended.stderr


def test_bad_setting_ends_in_one_line_and_exit_2() -> None:
    """A setting out of range ends the process before anything is loaded."""
    ended = run_to_end(max_batch_size=0)
    assert ended.returncode == 2
    assert ended.stderr.startswith("MILES_MAX_BATCH_SIZE='0':")
    assert len(ended.stderr.strip().splitlines()) == 1


def test_taken_port_ends_in_one_line_and_exit_1(tiny_path: Path) -> None:
    """A second service on the same port says so and ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run_to_end(checkpoint=tiny_path, precision="f32", port=port)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_address_of_another_machine_is_not_taken_for_a_taken_port(tiny_path: Path) -> None:
    """The advice is about the address."""
    ended = run_to_end(checkpoint=tiny_path, precision="f32", host="192.0.2.1", port=7860)
    assert ended.returncode == 1
    assert ended.stderr.endswith("Set MILES_HOST to an address of this machine, such as 0.0.0.0.\n")


def test_ctrl_c_stops_a_ready_service_with_exit_0(tiny_path: Path, tmp_path: Path) -> None:
    """SIGINT is an orderly end, like SIGTERM in test_lifecycle.py."""
    with ready_service(tmp_path / "log", checkpoint=tiny_path, precision="f32") as service:
        assert service.stop(signal.SIGINT) == 0


def test_app_without_a_model_says_so_with_503(tmp_path: Path) -> None:
    """Under the operator's own server, a model that cannot be loaded is reported in the same shape."""
    with (
        started_factory(tmp_path / "log", checkpoint=tmp_path / "absent.pt") as service,
        httpx.Client(base_url=service.url) as client,
    ):
        home, ready = client.get("/"), client.get("/health/ready")
        predicted = client.post("/predict", json={"title": "x"})
        batch = client.post("/predict/batch", json={"videos": [{"title": "x"}]})
        info, live = client.get("/model/info"), client.get("/health/live")
    assert home.status_code == ready.status_code == 503
    assert home.json().items() >= {"model": "Miles v1.0", "model_loaded": False}.items()
    assert "absent.pt: no such file" in home.json()["status"]
    assert predicted.status_code == batch.status_code == info.status_code == 503
    assert int(predicted.headers["retry-after"]) > 0
    assert live.status_code == 200


def test_app_is_imported_without_torch() -> None:
    """Nothing on the way from app.py to an answer imports torch, torchvision or transformers."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'transformers'))); "
        "import app, model.compiled.engine"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True)


def test_text_only_checkpoint_is_served(tmp_path: Path) -> None:
    """A checkpoint without an image tower scores, and says that it reads no images."""
    path = write_tiny(tmp_path / "text_only.pt", with_vision=False)
    with ready_service(tmp_path / "log", checkpoint=path, engine="torch", threads=1) as service:
        answer = httpx.post(
            f"{service.url}/predict", json={"title": "x", "thumbnail_url": "https://x.y/z.jpg"}
        ).json()
    assert answer["modalities"]["image"] == {"state": "missing", "reason": "no_image_tower"}
    assert 0 <= answer["viral_score"] <= 1
