"""A release has one version everywhere, and a tag that names another publishes nothing."""

import json
import os
import re
import subprocess
import tomllib

import yaml

from model import VERSION
from tests.support.process import completed
from tests.support.service import ROOT


def test_everything_published_has_the_version_of_the_code() -> None:
    """The packages, the cluster's image and the newest section of the changelog name `model.VERSION`."""
    clients = ROOT / "clients"
    cluster = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "base" / "kustomization.yaml").read_text())
    released = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert released
    found = {
        "Python client": tomllib.loads((clients / "python" / "pyproject.toml").read_text())["project"][
            "version"
        ],
        "TypeScript client": json.loads((clients / "typescript" / "package.json").read_text())["version"],
        "OpenAPI": json.loads((clients / "openapi.json").read_text())["info"]["version"],
        "Kubernetes": cluster["images"][0]["newTag"],
        "changelog": released[1],
    }
    assert found == dict.fromkeys(found, VERSION)


def publish_image(tag: str) -> subprocess.CompletedProcess[str]:
    surroundings = {"GITHUB_REPOSITORY": "Me/Miles", "GITHUB_REF_NAME": tag, "GITHUB_TOKEN": "t"}
    return completed([ROOT / "deploy" / "publish-image", "amd64"], cwd=ROOT, env=os.environ | surroundings)


def test_a_tag_of_another_version_publishes_nothing() -> None:
    """The tag and the code's version are both named, before anything is built."""
    done = publish_image("v0.0.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the tag is v0.0.1, model/__init__.py has {VERSION}" in done.stderr


def test_the_scripts_are_valid_shell() -> None:
    """sh parses each to its end."""
    for name in ("publish-image", "publish-client"):
        done = completed(["sh", "-n", ROOT / "deploy" / name])
        assert (name, done.returncode, done.stderr) == (name, 0, "")
