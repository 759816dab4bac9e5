"""What is uploaded to a Space: from a small repository, and through huggingface_hub to loopback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from deploy.huggingface.contents import SpaceError, files_of_the_space, refuse_secrets
from model.compiled.files import CHECKED
from tests.deploy.huggingface.hub import Hub, running_hub
from tests.support.process import completed
from tests.support.service import ROOT

README = "---\nsdk: docker\n---\n# Small\n\n![The page](docs/page.png)\n"
TOKEN = {"HF_TOKEN": "hf_local"}
SMALL = {
    "Dockerfile": "FROM scratch\nCOPY app.py ./\nCOPY serving/ serving/\nCOPY --from=base /a /b\n",
    ".dockerignore": "*\n",
    "README.md": README,
    "LICENSE": "MIT\n",
    "app.py": "print('small')\n",
    "serving/http/page/index.html": "<p>small</p>\n",
    "docs/page.png": "a picture\n",
    "docs/notes.md": "not shown\n",
    "tests/test_app.py": "assert True\n",
    ".env": "TOKEN=1\n",
    "features/a.py": "",
    "model/a.py": "",
    "preprocessing/a.py": "",
    "models/bert-base-uncased/vocab.txt": "[PAD]\n",
    "requirements/serve.lock": "fastapi==1\n",
}
GOES_UP = {".dockerignore", "Dockerfile", "LICENSE", "README.md", "app.py", "docs/page.png"} | {
    "serving/http/page/index.html"
}


def git(folder: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    completed(["git", *author, *arguments], cwd=folder, check=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository with our `deploy` and a service of one line."""
    folder = tmp_path / "small"
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in SMALL.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all", "--", ":!.env")
    git(folder, "commit", "-q", "-m", "all")
    return folder


def deploy(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`./miles upload-space me/miles` with a separate home, so that it finds none of our tokens."""
    names = ("PATH", "LANG")
    clean = {name: os.environ[name] for name in names if name in os.environ}
    home = {"HOME": str(folder), "HF_HOME": str(folder / ".hf"), "HF_HUB_DISABLE_XET": "1"}
    return completed(
        [sys.executable, "-m", "deploy.huggingface", "me/miles", *arguments],
        cwd=folder,
        env=clean | home | variables,
    )


def listed(output: str) -> dict[str, int]:
    """Path to bytes of every line that names a file."""
    lines = [line.split() for line in output.splitlines() if line.startswith(" ") and "bytes in" not in line]
    return {path: int(size.replace(",", "")) for size, path in lines}


def test_a_dry_run_lists_exactly_what_would_be_uploaded(small: Path) -> None:
    """Files that the Dockerfile copies or the README shows, with sizes; no token, no hub."""
    done = deploy(small, "--dry-run", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert listed(done.stdout) == {name: len(SMALL[name]) for name in GOES_UP}
    assert "nothing was sent" in done.stdout


def test_uncommitted_changes_are_not_uploaded(small: Path) -> None:
    """Files are uploaded as they are in the last commit, and a changed one is named."""
    (small / "serving" / "new.py").write_text("new")
    (small / "app.py").write_text("changed")
    (small / "tests" / "test_app.py").write_text("changed, and would not go up anyway")
    done = deploy(small, "--dry-run")
    assert listed(done.stdout)["app.py"] == len(SMALL["app.py"])
    assert "serving/new.py" not in listed(done.stdout)
    assert done.stderr == "app.py: has uncommitted changes; the last commit's version is uploaded\n"


def test_a_secret_is_not_uploaded() -> None:
    for path, content in (
        (".env", b""),
        ("serving/.env.local", b""),
        ("deploy/server.key", b""),
        ("app.py", b"token = 'hf_" + b"a" * 34 + b"'"),
        ("app.py", b"-----BEGIN RSA PRIVATE " + b"KEY-----"),
        ("app.py", b"key = 'eyJ" + b"a" * 20 + b".eyJ" + b"b" * 20 + b"." + b"c" * 20 + b"'"),
    ):
        with pytest.raises(SpaceError, match=path):
            refuse_secrets({"README.md": b"", path: content})


def test_a_link_is_not_uploaded(small: Path) -> None:
    """A symbolic link may lead out of the repository; the hub would get its text."""
    (small / "serving" / "link").symlink_to("/etc/passwd")
    git(small, "add", "serving/link")
    git(small, "commit", "-q", "-m", "link")
    with pytest.raises(SpaceError, match="serving/link: symbolic links cannot be uploaded"):
        files_of_the_space(small)


def test_our_space_holds_what_the_image_needs() -> None:
    """The service and the trained head of this repository, but no tests, weights or clients."""
    files = files_of_the_space(ROOT)
    tops = {path.partition("/")[0] for path in files}
    assert {"Dockerfile", "README.md", "app.py", "serving", "model", "models"} <= tops
    assert not tops & {"tests", "clients", "benchmarks", ".github", "training"}
    assert "models/demo/head.safetensors" in files
    assert max(map(len, files.values())) < 10_000_000  # beyond that the hub wants git-xet or LFS


def test_a_gradio_space_starts_our_server_without_torch(tiny_bundle: Path) -> None:
    """Its README names the SDK and start.py, requirements.txt has no torch, and the bundle is with it."""
    files = files_of_the_space(ROOT, "gradio", tiny_bundle)
    matter = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (matter["sdk"], matter["python_version"], matter["app_file"]) == ("gradio", "3.11", "start.py")
    assert "app_port" not in matter
    assert {"start.py", "app.py", "requirements/serve.lock", "models/bundle/bundle.json"} <= files.keys()
    assert b"torch" not in files["requirements.txt"] + files["requirements/serve.lock"]
    assert not {"Dockerfile", "deploy/huggingface/start.py"} & files.keys()


def test_notes_of_a_start_on_this_machine_are_not_uploaded(tiny_bundle: Path, tmp_path: Path) -> None:
    """They describe a checkpoint that a Space does not have."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / CHECKED).touch()
    files = {Path(name).name for name in files_of_the_space(ROOT, "gradio", bundle) if "/bundle/" in name}
    assert files == {file.name for file in bundle.iterdir()} - {CHECKED}


def test_a_gradio_space_needs_a_bundle(small: Path) -> None:
    """Without one nothing is uploaded, and the message says how to get it."""
    done = deploy(small, "--dry-run", "--sdk", "gradio")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no compiled bundle; run `make model`" in done.stderr


def test_a_gradio_space_is_created_as_one(small: Path, tiny_bundle: Path) -> None:
    with running_hub(Hub("me/miles")) as hub:
        done = publish(small, hub, ["--create", "--sdk", "gradio", "--bundle", str(tiny_bundle)])
    assert done.returncode == 0, done.stderr
    assert [(request["type"], request["sdk"]) for request in hub.created] == [("space", "gradio")]
    assert hub.added["models/bundle/bundle.json"] == (tiny_bundle / "bundle.json").read_bytes()


def publish(
    small: Path, hub: Hub, arguments: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Publish for real, to the local server."""
    return deploy(small, *arguments, HF_ENDPOINT=hub.url, **TOKEN, **variables)


def test_uploading_makes_the_space_hold_that_list(small: Path) -> None:
    """One commit adds every listed file with its content, and deletes every other file but .gitattributes."""
    with running_hub(Hub("me/miles", files={".gitattributes", "app.py", "old.py"})) as hub:
        done = publish(small, hub)
    assert done.returncode == 0, done.stderr
    assert hub.added == {name: SMALL[name].encode() for name in GOES_UP}
    assert hub.deleted == {"old.py"}
    assert hub.message.startswith("Miles at ")
    assert hub.created == []
    assert hub.tokens - {None} == {"Bearer hf_local"}
    assert f"uploaded: {hub.url}/spaces/me/miles/commit/" in done.stdout


def test_settings_are_set_by_name_and_not_shown(small: Path) -> None:
    """A value comes from the environment, goes to the hub, and is printed nowhere."""
    values = {"MILES_API_KEYS": "0123456789abcdef", "MILES_RATE_LIMIT": "60"}
    flags = ["--secret", "MILES_API_KEYS", "--variable", "MILES_RATE_LIMIT"]
    with running_hub(Hub("me/miles", files=set())) as hub:
        done = publish(small, hub, flags, **values)
    assert hub.settings == {
        "secrets": {"MILES_API_KEYS": "0123456789abcdef"},
        "variables": {"MILES_RATE_LIMIT": "60"},
    }
    assert "0123456789abcdef" not in done.stdout + done.stderr
    assert "secret MILES_API_KEYS: 16 characters" in done.stdout


def test_a_setting_without_a_value_stops_before_anything_is_sent(small: Path) -> None:
    """A misspelt name is reported, not uploaded empty."""
    with running_hub(Hub("me/miles", files=set())) as hub:
        done = publish(small, hub, ["--secret", "MILES_API_KEYZ"])
    assert done.returncode == 1
    assert "MILES_API_KEYZ: not set in the environment" in done.stderr
    assert hub.tokens == set()


def test_in_github_s_workflow_no_token_is_stored(small: Path) -> None:
    """GitHub's signed statement is exchanged for a token for this Space, as deploy-space.yml asks for it."""
    with running_hub(Hub("me/miles", files=set())) as hub:
        github = {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{hub.url}/github/statement",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of this run",
        }
        unset = {"HF_TOKEN": ""}  # how a missing secret arrives there
        done = deploy(small, HF_ENDPOINT=hub.url, HF_OIDC_RESOURCE="spaces/me/miles", **github, **unset)
    assert done.returncode == 0, done.stderr
    assert hub.added.keys() == GOES_UP
    assert [(asked["resource"], asked["subject_token"]) for asked in hub.exchanged] == [
        ("spaces/me/miles", "signed by GitHub")
    ]
    assert "Bearer hf_jwt_for_an_hour" in hub.tokens


def test_a_workflow_without_an_identity_fails_in_one_line(small: Path) -> None:
    """Without `id-token: write` there is no statement, and no other way is tried."""
    with running_hub(Hub("me/miles", files=set())) as hub:
        done = publish(small, hub, HF_OIDC_RESOURCE="spaces/me/miles", GITHUB_ACTIONS="true")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "id-token: write" in done.stderr
    assert hub.added == {}


def test_the_space_is_made_only_when_asked(small: Path) -> None:
    """Without --create a missing Space is an error; with it, a Docker Space is created."""
    with running_hub(Hub("me/miles")) as hub:
        refused = publish(small, hub)
        made = publish(small, hub, ["--create"])
    assert refused.returncode == 1
    assert "HTTP 404 from the hub" in refused.stderr
    assert made.returncode == 0, made.stderr
    assert [(request["type"], request["sdk"]) for request in hub.created] == [("space", "docker")]
    assert hub.added.keys() == GOES_UP


def test_a_refusal_is_one_line(small: Path) -> None:
    """The hub's status and the next step, without a traceback; the same if the hub cannot be reached."""
    for status, advice in ((401, "HF_TOKEN"), (402, "paid plan"), (403, "write access")):
        with running_hub(Hub("me/miles", refusal=status)) as hub:
            done = publish(small, hub, ["--create"])
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"HTTP {status} from the hub" in done.stderr
        assert advice in done.stderr
    done = deploy(small, HF_ENDPOINT="http://127.0.0.1:9", **TOKEN)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
