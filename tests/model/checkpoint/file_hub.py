"""A server on loopback that hands out files as the Hugging Face hub does, at one commit for each revision."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.web import Asked, Reply, web_host

COMMIT = "c" * 40


@contextmanager
def file_hub(repository: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a hub that has `files` in `repository` at every revision, and nothing else."""

    def answer(asked: Asked) -> Reply:
        start = f"/{repository}/resolve/"
        name = asked.path.removeprefix(start).partition("/")[2]
        if not asked.path.startswith(start) or name not in files:
            return Reply(404, headers={"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return Reply(200, files[name], headers)

    with web_host(answer) as url:
        yield url
