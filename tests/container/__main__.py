"""Builds the image and tries it: read-only root, uid 1000, no capabilities, an unwritable HOME.

    python -m tests.container                      with the first of docker, podman and buildah that works
    python -m tests.container --engine podman
    python -m tests.container --no-build --image miles
    python -m tests.container --with ray             also the image with Ray
    BUILD_FLAGS="--pull" python -m tests.container   more flags for the build, separated by spaces

Waits until the service is ready, runs the image's HEALTHCHECK, requests a prediction, checks the user and the
read-only folders, sends SIGTERM and expects exit status 0. The container is removed, the image is kept. See
`tests/container/buildah.py` for what buildah cannot enforce, and `tests/container/ray.py` for Ray.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.error import HTTPError

from model import VERSION
from tests.container.buildah import Buildah
from tests.container.docker import Docker
from tests.container.engine import ContainerError, Engine, attempt
from tests.container.ray import try_ray
from tests.container.trial import try_image


@dataclass(frozen=True)
class Image:
    """An image, what it is built from, and how it is tried."""

    name: str
    dockerfile: str
    flags: Sequence[str]
    trial: Callable[[Engine], None]


def choose(name: str | None, image: str) -> Engine:
    """The engine called `name`, or the first that works here; raises `ContainerError`."""
    every: list[Engine] = [Docker("docker", image), Docker("podman", image), Buildah(image)]
    candidates = [engine for engine in every if name in (None, engine.name)]
    for engine in candidates:
        if engine.works():
            return engine
    tried = ", ".join(engine.name for engine in candidates)
    raise ContainerError(f"{tried}: not installed or not responding (buildah must run as root)")


def revision() -> str:
    """The commit that the image is built from, for its label."""
    return attempt(["git", "rev-parse", "HEAD"]).stdout.strip() or "unknown"


def holds(image: Image, engine_name: str | None, build: bool) -> bool:
    """Build it unless told not to, try it, clean up; failures are printed."""
    try:
        engine = choose(engine_name, image.name)
    except ContainerError as exc:
        print(f"container: {exc}", file=sys.stderr)
        return False
    try:
        if build:
            flags = [*image.flags, *shlex.split(os.environ.get("BUILD_FLAGS", ""))]
            engine.build(flags, image.dockerfile)
        print(f"{image.name} with {engine.name}:")
        image.trial(engine)
    except (ContainerError, HTTPError, KeyError) as exc:
        log = engine.log()[-4000:]
        print(f"container: {exc}\n--- end of the service's log:\n{log}", file=sys.stderr)
        return False
    finally:
        engine.remove()
    return True


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.container",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=["docker", "podman", "buildah"], default=os.environ.get("ENGINE"))
    parser.add_argument("--image", default="miles")
    parser.add_argument("--no-build", action="store_true", help="test the existing image")
    parser.add_argument("--with", choices=["ray"], dest="beside", help="also test IMAGE-ray, which adds Ray")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # to clean up
    label = ["--build-arg", f"VERSION={VERSION}", "--build-arg", f"REVISION={revision()}"]
    images = [Image(options.image, "Dockerfile", label, try_image)]
    if options.beside == "ray":
        derived = ["--build-arg", f"MILES={options.image}"]
        images.append(Image(f"{options.image}-ray", "deploy/ray/Dockerfile", derived, try_ray))
    return next((1 for image in images if not holds(image, options.engine, not options.no_build)), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
