"""The house stands as it was drawn: the tree, who imports whom, sizes and names."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.house import (
    MAY_IMPORT,
    ROOT,
    climbing_imports,
    forbidden_imports,
    imported_modules,
    imported_packages,
    long_functions,
    modules,
    package_of,
    tree_of,
)

TREE = [
    *[
        ".ci/run",
        ".dockerignore",
        ".gitignore",
        "CHANGELOG.md",
        "DEPLOYMENT_GUIDE.md",
        "README.md",
        "Dockerfile",
        "LICENSE",
        "Makefile",
        "app.py",
        "miles",
    ],
    *["requirements/constraints.txt", "requirements.txt", "requirements/serve.txt", "requirements/dev.txt"],
    *["pyproject.toml", "models/bert-base-uncased/vocab.txt"],
    *["benchmarks", "deploy", "features", "model", "models", "preprocessing", "serving", "tests", "training"],
]


def ids(path: Path) -> str:
    """A module's path as the test's name."""
    return str(path)


judged = pytest.mark.parametrize("module", modules(*MAY_IMPORT), ids=ids)
every_module = pytest.mark.parametrize("module", modules(), ids=ids)


@pytest.mark.parametrize("name", TREE)
def test_the_top_level_tree_is_there(name: str) -> None:
    """What the plan of the house names exists."""
    assert (ROOT / name).exists()


def test_no_python_package_stands_outside_the_plan() -> None:
    """A new top-level package or module needs a row in the table of who may import whom."""
    found = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[!.]*/**/*.py")} - {"build"}
    found |= {path.stem for path in ROOT.glob("*.py")}
    assert found <= MAY_IMPORT.keys() | {"tests"}


@judged
def test_imports_point_one_way(module: Path) -> None:
    """app -> serving -> {preprocessing, features, model}; training beside serving; the three know nobody."""
    assert forbidden_imports(package_of(module), tree_of(module), str(module.parent)) == []


def test_imports_in_serving_go_down() -> None:
    """process, http > observability > lifecycle > scoring > settings, errors, cpu."""
    found = [
        line
        for module in modules("serving")
        for line in climbing_imports(".".join(module.with_suffix("").parts), tree_of(module))
    ]
    assert found == []


def test_what_serves_does_not_import_the_compiler() -> None:
    """serving/ and model/compiled/ run where only requirements/serve.txt is installed."""
    found = [
        f"{module}:{line} imports {name}"
        for module in [*modules("serving"), *modules("model/compiled")]
        for line, name in imported_modules(tree_of(module))
        if name.split(".")[:2] == ["model", "compile"]
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("serving.scoring.towers", "from serving.lifecycle.loading import load_model"),
        ("serving.lifecycle.predictor", "import serving.observability.metrics"),
        ("serving.observability.metrics", "from serving.http import schemas"),
        ("serving.process.server", "from serving.http.paths import PREDICT"),
        ("serving.scoring.cache", "from serving import lifecycle"),
    ],
)
def test_an_import_that_climbs_is_caught(module: str, line: str) -> None:
    """From a room to one above it, or beside it on the same storey."""
    assert len(set(climbing_imports(module, ast.parse(line)))) >= 1
    assert climbing_imports("serving.http.batch", ast.parse("import serving.scoring.cache")) == []


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("model", "from features import MILES_V1"),
        ("model", "from preprocessing.text import TextSpec"),
        ("features", "import preprocessing.text"),
        ("preprocessing", "def f():\n    from model.checkpoint.store import Checkpoint"),
        ("training", "from serving.settings import Settings"),
        ("training", "if TYPE_CHECKING:\n    import serving"),
        ("serving", "import app"),
        ("serving", "from training import fit"),
        ("clients", "import features"),
        ("model", "from tests.support.tiny import tiny_checkpoint"),
        ("features", "import importlib\nimportlib.import_module('model.network')"),
        ("app", "import model"),
        ("preprocessing", "from pydantic import BaseModel"),
        ("model", "import fastapi.responses"),
        ("serving", "import torch"),
        ("features", "import torch.nn as nn"),
        ("app", "from transformers import BertModel"),
        ("deploy", "import torch"),
    ],
)
def test_a_forbidden_import_is_caught(package: str, line: str) -> None:
    """The judge is no rubber stamp: each of these is against the rules, and it says so."""
    assert len(forbidden_imports(package, ast.parse(line))) == 1


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("app", "from serving.lifecycle.predictor import Predictor"),
        ("app", "import fastapi"),
        ("serving", "from model.engine import Engine"),
        ("serving", "from . import settings"),
        ("training", "import torch, features, preprocessing.text, model.network"),
        ("model", "from model.network import TextEncoder\nimport torchvision"),
        ("clients", "import requests"),
    ],
)
def test_a_permitted_import_is_not(package: str, line: str) -> None:
    """Imports along the arrows, and of one's own package, pass."""
    assert forbidden_imports(package, ast.parse(line)) == []


def test_the_judge_reads_the_real_modules() -> None:
    """The files are found and their imports seen: app.py does import serving and fastapi."""
    assert {"serving", "fastapi"} <= {name for _, name in imported_packages(tree_of(Path("app.py")))}
    assert {package_of(module) for module in modules()} >= {"app", "serving", "model", "features", "tests"}


@every_module
def test_every_module_opens_with_its_responsibility(module: Path) -> None:
    """The first thing in a module is a docstring; a test package without code needs none."""
    tree = tree_of(module)
    assert ast.get_docstring(tree) or (package_of(module) == "tests" and not tree.body)


@every_module
def test_no_module_is_named_for_everything(module: Path) -> None:
    """A module is named for one thing, never utils, helpers, common or manager."""
    assert not re.search(r"util|helper|common|manager|misc", module.stem)


@every_module
def test_functions_are_short(module: Path) -> None:
    """No function is longer than a screen."""
    assert long_functions(tree_of(module), limit=60) == []


def test_a_long_function_is_caught() -> None:
    """Sixty lines pass, sixty-one do not."""
    sixty = "def f():\n" + "    x = 1\n" * 59
    assert long_functions(ast.parse(sixty), limit=60) == []
    assert long_functions(ast.parse(sixty + "    y = 2\n"), limit=60) == ["f has 61 lines"]


def test_app_is_read_in_one_sitting() -> None:
    """app.py stays under 150 lines."""
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 150


def test_numbers_of_the_network_are_typed_nowhere_in_serving() -> None:
    """Image size, widths and ImageNet means travel with the checkpoint."""
    pages = [
        path for path in (ROOT / "serving").rglob("*.*") if path.suffix in {".html", ".css", ".js", ".py"}
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "app.py", *pages)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"0\.485|224|768|2048", line)
    ]
    assert found == []


def test_models_holds_no_python() -> None:
    """models/ is artifacts; the code that reads them is in model/."""
    assert list((ROOT / "models").rglob("*.py")) == []


def test_continuous_integration_runs_what_people_run() -> None:
    """.ci/run is executable and calls `make test`."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.search(r"^(exec )?make test$", script.read_text(encoding="utf-8"), re.MULTILINE)
