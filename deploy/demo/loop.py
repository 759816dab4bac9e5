"""The demo's loop: scores, time that passes, outcomes, a better model, and its way into service."""

import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.database import Database
from deploy.demo.invented import invented_videos, videos_of
from deploy.demo.processes import DemoError
from deploy.demo.scraper import CLIENTS, ROOT, Scraper, run_program
from model.compiled.files import is_bundle

SCHEMA = "loop"
VIDEOS, NEWER = 160, 60  # to learn from, and to try the new model on
FIRST_VIDEOS, OF_FILE = 120, 500  # of a data file: for the first model, and to learn from
VIRAL = 90_000.0  # views per day, for a checkpoint that does not state it
SHADOW_LIMIT_S = 120
NOW = "0.0000001"  # hours after which a changed row is scored again


Say = Callable[[str], None]


@dataclass(frozen=True)
class Served:
    """The demo's service: its address and key, and the paths of its checkpoints."""

    url: str
    key: str
    checkpoint: Path
    shadow: Path


def checkpoint_in(folder: Path) -> tuple[Path, Path] | None:
    """Links to the checkpoint that the loop may replace, and the path of its shadow; None for a bundle."""
    given = Path(os.environ.get("MILES_CHECKPOINT") or ROOT / "models" / "model_full.pt").absolute()
    if is_bundle(given):
        return None
    home = folder / "checkpoint"
    home.mkdir()
    for path in (given, given.with_suffix(".stats.json"), given.parent / "compiled"):
        if path.exists():
            (home / path.name).symlink_to(path)
    return home / given.name, home / "model_next.pt"


def loop_settings(checkpoint: Path, shadow: Path) -> dict[str, str]:
    """The service's settings for the loop."""
    return {
        "MILES_CHECKPOINT": str(checkpoint),
        "MILES_SHADOW_CHECKPOINT": str(shadow),
        "MILES_API_KEYS": secrets.token_hex(16),
        "MILES_ENGINE": "torch",
        "MILES_PRECISION": "f32",
    }


def first_model(database: Database, data: Path, checkpoint: Path, say: Say) -> None:
    """Replace the checkpoint by one that is fitted on a few videos of the data file, each seen only twice.

    It knows no previous looks, as in a scraper's first days, so there is something to learn. Raises
    `DemoError`.
    """
    scraper = Scraper(database.url, "first")
    videos = videos_of(data, FIRST_VIDEOS, split="train", looks=2)
    for number in range(2):
        scraper.look(videos, number)
    out = checkpoint.with_name("model_first.pt")
    say(f"./miles train --from the database: a first model, of {len(videos)} videos seen twice each")
    words = ["-m", "training.fit", "--from", scraper.address, "--against", checkpoint, "--out", out]
    run_program([*words, "--thumbnails", "none"], {})
    out.replace(checkpoint)


class Loop:
    """The scraper's table in a schema of its own, and the steps of the loop."""

    def __init__(self, database: Database, served: Served, data: Path | None, say: Say) -> None:
        self._database, self._served, self._say = database, served, say
        self._older = VIDEOS if data is None else OF_FILE
        count = self._older + NEWER
        self._videos = videos_of(data, count) if data else invented_videos(count, datetime.now(UTC))
        if len(self._videos) < count:
            raise DemoError(f"{data}: has {len(self._videos)} videos with enough looks, expected {count}")
        self._is_invented = data is None
        self._info = self._get("/model/info").json()
        self._viral = _viral(self._info) or VIRAL

    def play(self) -> None:
        """Everything, in order. Raises `DemoError`."""
        older, newer = self._videos[: self._older], self._videos[self._older :]
        self._scraper = Scraper(self._database.url, SCHEMA)
        source = "invented videos, which grow faster than those of the demo's training"
        source = source if self._is_invented else "videos of the data file"
        self._say(f"the loop: {self._older} {source}")
        self._scraper.look(older, 0)
        self._say(f"scored:   {self._score()}")
        self._scraper.look(older, 1)
        self._say(f"a day passes, and they are scored again with their previous look: {self._score()}")
        self._scraper.look(older, 2)
        self._say(f"another day passes: {self._score()}")
        self._say(f"judged:   {_figures(self._groups()['all']['all'])}")
        self._learn()
        self._reload()
        self._wait_for_shadow()
        self._scraper.look(newer, 0)
        self._say(f"{NEWER} newer videos are scored by both models: {self._score()}")
        self._scraper.look(newer, 1)
        if self._compared() != "better":
            self._say("the new model is not better, so the old one stays")
            return
        self._served.shadow.replace(self._served.checkpoint)
        new = self._reload()
        self._say(f"POST /admin/reload: {new} is in service")
        self._say(f"the same videos a day later: {self._score()}")
        self._scraper.look(newer, 2)
        versions = self._groups()["version"]
        for version in sorted(versions, key=new.__eq__):  # the one in service last
            self._say(f"improved: {version}: {_figures(versions[version])}")

    def _score(self) -> str:
        """Run the scraper's step; its summary."""
        words = [CLIENTS / "trigger_inference.py", "--table", f"{SCHEMA}.candidates", "--rescore-after", NOW]
        settings = {
            "DATABASE_URL": self._database.url,
            "INFERENCE_API_URL": self._served.url,
            "MILES_API_KEY": self._served.key,
        }
        output = run_program([*words, "--limit", str(len(self._videos))], settings)
        return output.strip().splitlines()[-1]

    def _outcomes(self) -> list[str]:
        """The lines of ./miles outcomes; the last is JSON."""
        words = ["-m", "training.outcomes", self._scraper.address, "--viral-velocity", str(self._viral)]
        return run_program(words, {}).strip().splitlines()

    def _groups(self) -> dict[str, Any]:
        groups: dict[str, Any] = json.loads(self._outcomes()[-1])["groups"]
        return groups

    def _learn(self) -> None:
        self._say("./miles train --from the database (about a minute)")
        served = self._served
        words = ["-m", "training.fit", "--from", self._scraper.address, "--against", served.checkpoint]
        words += ["--out", served.shadow, "--thumbnails", "none"]
        words += [] if _viral(self._info) else ["--viral-quantile", "0.8"]
        lines = run_program(words, {}).strip().splitlines()
        self._say(f"learned:  {lines[-2]}")

    def _compared(self) -> str:
        """The verdict of ./miles outcomes on the shadow."""
        lines = self._outcomes()
        duels = json.loads(lines[-1])["shadows"]
        if not duels:
            raise DemoError(
                "no shadow has scored beside the served model; see miles_shadow_total in /metrics"
            )
        self._say(f"compared: {next(line for line in reversed(lines) if 'paired' in line)}")
        return str(duels[0]["verdict"])

    def _reload(self) -> str:
        headers = {"Authorization": f"Bearer {self._served.key}"}
        answer = httpx.post(f"{self._served.url}/admin/reload", headers=headers, timeout=600, trust_env=False)
        if answer.status_code != 200:
            raise DemoError(f"POST /admin/reload: {answer.status_code} {answer.text}")
        return str(answer.json()["model_version"])

    def _wait_for_shadow(self) -> None:
        deadline = time.monotonic() + SHADOW_LIMIT_S
        while time.monotonic() < deadline:
            lines = self._get("/metrics").text.splitlines()
            if any(line.startswith("miles_shadow_ready") and line.endswith(" 1.0") for line in lines):
                return
            time.sleep(0.2)
        raise DemoError(
            "the new model does not score beside the served one; see shadow_ in the service's log"
        )

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(self._served.url + path, timeout=60, trust_env=False)


def _viral(info: dict[str, Any]) -> float | None:
    """The views per day of a viral video, if the model's card states them."""
    data = info["training"]["provenance"].get("data")
    found = data.get("viral_above_views_per_day") if isinstance(data, dict) else None
    return float(found) if found else None


def _figures(group: dict[str, Any]) -> str:
    figures = ", ".join(f"{name} {each['difference']:.3f}" for name, each in group["figures"].items())
    return f"{group['rows']} looks, {group['viral']} viral: {figures or 'too few for figures'}"
