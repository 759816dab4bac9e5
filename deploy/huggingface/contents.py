"""The files to upload: the last commit's serving files, the README's pictures and, for Gradio, a bundle."""

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

SDKS = ("docker", "gradio")
ALWAYS = ("README.md", "LICENSE")
# Needed by a Docker Space in addition to the files that the Dockerfile copies.
DOCKER = ("Dockerfile", ".dockerignore")
# A Gradio Space may run any server on port 7860. It has no torch, so the bundle is compiled beforehand.
GRADIO = ("app.py", "features", "model", "preprocessing", "serving", "models/bert-base-uncased")
LOCK, START = "requirements/serve.lock", "deploy/huggingface/start.py"
BUNDLE = "models/bundle"
UV = "uv==0.13.9"  # all that the hub installs; start.py installs the rest, apart from Gradio's packages
SETTINGS = f"sdk: gradio\nsdk_version: 6.31.0\npython_version: '3.11'\napp_file: {Path(START).name}"
DOCKER_SETTINGS = re.compile(r"^sdk: docker(\napp_port: \d+)?$", re.MULTILINE)
COPIED = re.compile(r"^COPY (?!--)(.+) \S+$", re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]*\]\(([\w./-]+)\)|<img [^>]*src=\"([\w./-]+)\"")
SECRET_NAMES = re.compile(r"(^|/)(\.env(\..*)?|id_[a-z0-9]+|.*\.(pem|key|p12))$")
# Tokens of the hub, GitHub, Supabase and AWS, signed web tokens, private keys.
SECRETS = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36}|sb_secret_[\w-]{20,}|AKIA[0-9A-Z]{16}"
    rb"|eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


class SpaceError(Exception):
    """A Space cannot be created or updated; the message gives the reason and the next step."""


def files_of_the_space(root: Path, sdk: str = "docker", bundle: Path | None = None) -> dict[str, bytes]:
    """Content by path of every file to upload: the last commit's, and for Gradio those of `bundle`.

    Raises `SpaceError`.
    """
    readme = _git(root, "show", "HEAD:README.md").decode()
    shown = [path for match in PICTURE.findall(readme) for path in match if path]
    if sdk == "docker":
        dockerfile = _git(root, "show", "HEAD:Dockerfile").decode()
        copied = [name for line in COPIED.findall(dockerfile) for name in line.split()]
        found = _committed(root, {*ALWAYS, *DOCKER, *copied, *shown})
    else:
        found = _committed(root, {*ALWAYS, *GRADIO, LOCK, START, *shown}) | _bundle_files(bundle)
        found[Path(START).name] = found.pop(START)
        found["requirements.txt"] = f"{UV}\n".encode()
        found["README.md"] = DOCKER_SETTINGS.sub(SETTINGS, readme, count=1).encode()
    refuse_secrets(found)
    return dict(sorted(found.items()))


def _committed(root: Path, names: Iterable[str]) -> dict[str, bytes]:
    archive = _git(root, "archive", "--format=tar", "HEAD", "--", *names)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [member for member in tar if not member.isdir()]
        links = [member.name for member in members if not member.isfile()]
        if links:
            raise SpaceError(
                f"{', '.join(links)}: symbolic links cannot be uploaded; commit the files themselves"
            )
        return {member.name: file.read() for member in members if (file := tar.extractfile(member))}


def _bundle_files(bundle: Path | None) -> dict[str, bytes]:
    if bundle is None or not (bundle / "bundle.json").is_file():
        raise SpaceError(
            f"{bundle or 'models/compiled'}: no compiled bundle; run `make model`, or name one with --bundle"
        )
    files = (bundle / "bundle.json", *bundle.glob("*.xml"), *bundle.glob("*.bin"))
    return {f"{BUNDLE}/{file.name}": file.read_bytes() for file in files}


def compiled_bundle(root: Path) -> Path | None:
    """The newest bundle that was compiled here, if there is one."""
    found = (root / "models" / "compiled").glob("*/bundle.json")
    newest = max(found, key=lambda manifest: manifest.stat().st_mtime, default=None)
    return newest.parent if newest else None


def refuse_secrets(files: Mapping[str, bytes]) -> None:
    """Raise `SpaceError` for a file whose name or content looks like a secret."""
    for path, content in files.items():
        if SECRET_NAMES.search(path):
            raise SpaceError(f"{path}: has the name of a secrets file; remove it from git")
        if SECRETS.search(content):
            raise SpaceError(
                f"{path}: contains what looks like a token or key; revoke it and remove it from git"
            )


def commit_of(root: Path) -> str:
    """The sha of the last commit."""
    return _git(root, "rev-parse", "HEAD").decode().strip()


def uncommitted(root: Path) -> list[str]:
    """Tracked files with uncommitted changes."""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no").decode().splitlines()
    return [line[3:] for line in changed]


def listing(files: Mapping[str, bytes]) -> str:
    """One line per file with its size, and the total."""
    lines = [f"{len(content):>12,}  {path}" for path, content in files.items()]
    total = sum(map(len, files.values()))
    return "\n".join([*lines, f"{total:>12,}  bytes in {len(files)} files"])


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError as exc:
        raise SpaceError("git is not installed; it is needed to list the files") from exc
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise SpaceError(f"git {arguments[0]} failed in {root.name}: {reason}")
    return done.stdout
