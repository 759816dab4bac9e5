"""Uploads files and settings to a Space with huggingface_hub, in one commit.

huggingface_hub finds the token: that of a trusted publisher (`HF_OIDC_RESOURCE`, in GitHub Actions), else
`HF_TOKEN`, else the one saved by `hf auth login`.
"""

from collections.abc import Mapping

import httpx2  # huggingface_hub's HTTP client, whose errors it does not wrap
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OIDCError

from deploy.huggingface.contents import SpaceError

KEPT = {".gitattributes"}  # maintained by the hub
REASONS = {
    401: "invalid token: set HF_TOKEN, or run hf auth login",
    402: "creating a Docker Space needs a paid plan; --sdk gradio makes one that does not",
    403: "the token needs write access to the Space; creating one may need a paid plan",
    404: "no such Space, or the token has no access to it; --create creates it",
}


def publish(
    space: str,
    files: Mapping[str, bytes],
    message: str,
    *,
    secrets: Mapping[str, str],
    variables: Mapping[str, str],
    create_with: str | None,
) -> str:
    """Make `files` the content of the Space and return the commit's URL. Raises `SpaceError`.

    `create_with` is the SDK of a Space that may not exist yet.
    Settings are set before the files are uploaded, because variables are build arguments.
    """
    api = HfApi()
    try:
        if create_with:
            api.create_repo(space, repo_type="space", space_sdk=create_with, exist_ok=True)
        there = {file.rfilename for file in api.space_info(space).siblings or ()}
        for name, value in variables.items():
            api.add_space_variable(space, name, value)
        for name, value in secrets.items():
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
        reason = REASONS.get(status) or str(exc).strip().splitlines()[-1]
        raise SpaceError(f"{space}: HTTP {status} from the hub: {reason}") from exc
    except httpx2.TransportError as exc:
        raise SpaceError(f"{space}: cannot reach the hub ({exc}); try again") from exc
    except (HFValidationError, OIDCError, OSError, ValueError) as exc:
        raise SpaceError(f"{space}: {type(exc).__name__}: {exc}") from exc
    return str(commit.commit_url)
