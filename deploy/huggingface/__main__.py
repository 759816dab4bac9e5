"""Uploads the last commit to a Hugging Face Space.

    ./miles upload-space OWNER/SPACE --dry-run     list the files to upload; no token, no network
    ./miles upload-space OWNER/SPACE               upload them; the Space rebuilds
    ./miles upload-space OWNER/SPACE --create      create the Space first
    ./miles upload-space OWNER/SPACE --sdk gradio  a Space for free accounts, with a compiled bundle
    ./miles upload-space OWNER/SPACE --secret MILES_API_KEYS --variable MILES_RATE_LIMIT
                                                           also set these from the environment

Values of settings are never printed. Files of the Space that are not in the commit are deleted.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.huggingface.contents import (
    SDKS,
    SpaceError,
    commit_of,
    compiled_bundle,
    files_of_the_space,
    listing,
    uncommitted,
)

ROOT = Path(__file__).parent.parent.parent
SPACE = re.compile(r"[\w.-]+/[\w.-]+")
NAME = re.compile(r"[A-Za-z_]\w*")


def main(arguments: Sequence[str]) -> int:
    """List the files and upload them unless `--dry-run`; 1 after an error."""
    chosen = _parse(arguments)
    try:
        secrets, variables = _from_environment(chosen.secret), _from_environment(chosen.variable)
        files = files_of_the_space(ROOT, chosen.sdk, chosen.bundle or compiled_bundle(ROOT))
        sha = commit_of(ROOT)
        print(listing(files))
        for path in sorted(files.keys() & set(uncommitted(ROOT))):
            print(f"{path}: has uncommitted changes; the last commit's version is uploaded", file=sys.stderr)
        _say_settings("secret", secrets)
        _say_settings("variable", variables)
        if chosen.dry_run:
            print(f"commit {sha[:12]} would be uploaded to the Space {chosen.space}; nothing was sent")
            return 0
        # Imported here, so that --dry-run works before huggingface_hub is installed.
        from deploy.huggingface.publish import publish

        url = publish(
            chosen.space,
            files,
            f"Miles at {sha}",
            secrets=secrets,
            variables=variables,
            create_with=chosen.sdk if chosen.create else None,
        )
        print(f"uploaded: {url}")
    except SpaceError as exc:
        print(f"deploy: {exc}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./miles upload-space",
        usage="%(prog)s [OPTIONS] OWNER/SPACE   (--help lists them)",
        description="Uploads the last commit to a Hugging Face Space.",
    )
    parser.add_argument("space", metavar="OWNER/SPACE", help="the Space, such as ada/miles")
    parser.add_argument("--dry-run", action="store_true", help="list the files and upload nothing")
    parser.add_argument("--create", action="store_true", help="create the Space if it does not exist")
    parser.add_argument(
        "--sdk",
        choices=SDKS,
        default=SDKS[0],
        help="docker builds the image; gradio needs no paid plan and runs a compiled bundle "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="the bundle for gradio (default: the newest in models/compiled)",
    )
    parser.add_argument(
        "--secret", action="append", default=[], metavar="NAME", help="set a secret from the environment"
    )
    parser.add_argument(
        "--variable",
        action="append",
        default=[],
        metavar="NAME",
        help="set a public variable from the environment",
    )
    chosen = parser.parse_args(arguments)
    if not SPACE.fullmatch(chosen.space):
        parser.error(f"{chosen.space!r}: expected OWNER/SPACE")
    for name in (*chosen.secret, *chosen.variable):
        if not NAME.fullmatch(name):
            parser.error(f"{name!r}: expected the name of an environment variable, not a value")
    return chosen


def _from_environment(names: Sequence[str]) -> dict[str, str]:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise SpaceError(f"{', '.join(missing)}: not set in the environment; export it first")
    return {name: os.environ[name] for name in names}


def _say_settings(kind: str, values: dict[str, str]) -> None:
    for name, value in values.items():
        print(f"{kind} {name}: {len(value)} characters from the environment")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
