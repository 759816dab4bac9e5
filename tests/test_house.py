"""The tree, imports, sizes and names: one test for each rule, which lists every offending file."""

import ast
import re
from collections import Counter
from pathlib import Path

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
        "Dockerfile",
        "LICENSE",
        "miles",
    ],
    *["Makefile", "README.md", "app.py", "models/bert-base-uncased/vocab.txt", "pyproject.toml"],
    *["requirements.txt", "requirements/constraints.txt", "requirements/dev.txt", "requirements/serve.txt"],
    *["benchmarks", "deploy", "features", "model", "models", "preprocessing", "serving", "tests", "training"],
]

FORBIDDEN = [
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
]
PERMITTED = [
    ("app", "from serving.lifecycle.predictor import Predictor"),
    ("app", "import fastapi"),
    ("serving", "from model.engine import Engine"),
    ("serving", "from . import settings"),
    ("training", "import torch, features, preprocessing.text, model.network"),
    ("model", "from model.network import TextEncoder\nimport torchvision"),
    ("clients", "import httpx"),
]
CLIMBING = [
    ("serving.scoring.towers", "from serving.lifecycle.loading import load_model"),
    ("serving.lifecycle.predictor", "import serving.observability.metrics"),
    ("serving.observability.metrics", "from serving.http import schemas"),
    ("serving.process.server", "from serving.http.limits import PREDICT"),
    ("serving.scoring.cache", "from serving import lifecycle"),
]


def test_the_top_level_tree_is_there() -> None:
    """Every file and folder that the plan of the repository names exists."""
    assert [name for name in TREE if not (ROOT / name).exists()] == []


def test_no_python_package_is_outside_the_plan() -> None:
    """A new top-level package or module needs a row in the table of permitted imports."""
    found = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[!.]*/**/*.py")} - {"build"}
    found |= {path.stem for path in ROOT.glob("*.py")}
    assert found <= MAY_IMPORT.keys() | {"tests"}


def test_imports_point_one_way() -> None:
    """app -> serving -> {preprocessing, features, model}, which import none of the others; training is level
    with serving.
    """
    found = [
        f"{module}: {wrong}"
        for module in modules(*MAY_IMPORT)
        for wrong in forbidden_imports(package_of(module), tree_of(module), str(module.parent))
    ]
    assert found == []


def test_imports_in_serving_go_down() -> None:
    """process, http > observability > lifecycle > scoring > settings, errors, resources."""
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


def test_ray_is_imported_by_these_modules_alone() -> None:
    """Everything else works without `make scale-setup`."""
    ours = [path for path in modules() if path.parts[:2] != ("tests", "scale")]
    importing = {
        str(path) for path in ours if any(name == "ray" for _, name in imported_packages(tree_of(path)))
    }
    serving = {"deploy/ray_serve.py", "deploy/ray/towers.py", "deploy/score_dataset/run.py"}
    assert importing == serving | {"benchmarks/peers/ray_peer.py"}


def test_wrong_imports_are_caught_and_permitted_ones_are_not() -> None:
    """The rules above report each forbidden import once, and nothing else."""
    assert [row for row in FORBIDDEN if len(forbidden_imports(row[0], ast.parse(row[1]))) != 1] == []
    assert [row for row in PERMITTED if forbidden_imports(row[0], ast.parse(row[1]))] == []
    assert [row for row in CLIMBING if not climbing_imports(row[0], ast.parse(row[1]))] == []
    assert climbing_imports("serving.http.batch", ast.parse("import serving.scoring.cache")) == []


def test_the_rules_read_the_real_modules() -> None:
    """The files are found and their imports seen: app.py does import serving and fastapi."""
    assert {"serving", "fastapi"} <= {name for _, name in imported_packages(tree_of(Path("app.py")))}
    assert {package_of(module) for module in modules()} >= {"app", "serving", "model", "features", "tests"}


def test_every_module_opens_with_its_responsibility() -> None:
    """The first thing in a module is a docstring; a test package without code needs none."""
    trees = {module: tree_of(module) for module in modules()}
    found = [
        str(module)
        for module, tree in trees.items()
        if not ast.get_docstring(tree) and (package_of(module) != "tests" or tree.body)
    ]
    assert found == []


def test_no_module_is_named_for_everything() -> None:
    """A module is named for one thing, never utils, helpers, common or manager."""
    found = [module for module in modules() if re.search(r"util|helper|common|manager|misc", module.stem)]
    assert found == []


def test_functions_are_short() -> None:
    found = [
        f"{module}: {long}" for module in modules() for long in long_functions(tree_of(module), limit=60)
    ]
    assert found == []
    sixty = "def f():\n" + "    x = 1\n" * 59
    assert long_functions(ast.parse(sixty), limit=60) == []
    assert long_functions(ast.parse(sixty + "    y = 2\n"), limit=60) == ["f has 61 lines"]


def test_no_folder_of_the_product_is_crowded() -> None:
    product = [module for module in modules(*MAY_IMPORT) if module.name != "__init__.py"]
    counts = Counter(str(module.parent) for module in product)
    assert {folder: count for folder, count in counts.items() if count > 16} == {}


COMMANDS = (
    *("app", "model.compile", "model.demo", "training.fit", "training.evaluate", "training.report"),
    *("deploy.doctor", "deploy.score_dataset", "deploy.huggingface", "benchmarks.side_by_side"),
)


def test_documented_python_m_commands_run() -> None:
    """Each of these modules, or the package's __main__, does something when it is run."""
    for name in COMMANDS:
        path = ROOT / name.replace(".", "/")
        file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert '__name__ == "__main__"' in file.read_text(encoding="utf-8"), name


def test_app_is_read_in_one_sitting() -> None:
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 150


def test_serving_hard_codes_no_numbers_of_the_network() -> None:
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
    """models/ holds artifacts; the code that reads them is in model/."""
    assert list((ROOT / "models").rglob("*.py")) == []


def test_continuous_integration_runs_what_people_run() -> None:
    """.ci/run is executable and calls `make test`."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.search(r"^(exec )?make test$", script.read_text(encoding="utf-8"), re.MULTILINE)
