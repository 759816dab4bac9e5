"""Sends files and settings to a Space with huggingface_hub, in one commit.

The token is huggingface_hub's to find: a trusted publisher's (`HF_OIDC_RESOURCE`, in GitHub Actions), else
`HF_TOKEN`, else the one that `hf auth login` left.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2  # what huggingface_hub speaks with; it lets its errors through
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OIDCError

from deploy.huggingface.contents import SpaceError

KEPT = {".gitattributes"}  # the hub's own
REFUSED = {
    401: "the hub knows no such token: set HF_TOKEN, or run hf auth login",
    402: "creating a Docker Space needs a paid plan (DEPLOYMENT_GUIDE.md has the alternatives)",
    403: "this token may not: it needs the right to write to the Space; creating one may need a paid plan",
    404: "there is no such Space, or this token may not see it; --create makes it",
}


@dataclass(frozen=True)
class SpaceSettings:
    """Names and values that the Space gets before the files, because variables are build arguments."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


def publish(
    space: str, files: Mapping[str, bytes], message: str, settings: SpaceSettings, create: bool
) -> str:
    """Make the Space hold exactly `files`, and return the commit's address. Raises `SpaceError`."""
    api = HfApi()
    try:
        if create:
            api.create_repo(space, repo_type="space", space_sdk="docker", exist_ok=True)
        there = {file.rfilename for file in api.space_info(space).siblings or ()}
        for name, value in settings.variables.items():
            api.add_space_variable(space, name, value)
        for name, value in settings.secrets.items():
            api.add_space_secret(space, name, value)
        commit = api.create_commit(
            space,
            [
                *(CommitOperationAdd(path, content) for path, content in files.items()),
                *(CommitOperationDelete(path) for path in sorted(there - files.keys() - KEPT)),
            ],
            commit_message=message,
            repo_type="space",
        )
    except HfHubHTTPError as exc:
        status = exc.response.status_code
        said = REFUSED.get(status) or str(exc).strip().splitlines()[-1]
        raise SpaceError(f"{space}: the hub answered {status}: {said}") from exc
    except httpx2.TransportError as exc:
        raise SpaceError(f"{space}: the hub cannot be reached ({exc}); try again") from exc
    except (HFValidationError, OIDCError, OSError, ValueError) as exc:
        raise SpaceError(f"{space}: {type(exc).__name__}: {exc}") from exc
    return str(commit.commit_url)
