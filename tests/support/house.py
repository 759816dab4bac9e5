"""Reads the source as syntax trees, so that tests/test_house.py can hold it to the rules of the house.

Nothing here imports what it judges.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Which of our packages may import which. app.py is above everything, clients are beside it.
MAY_IMPORT = {
    "app": {"serving"},
    "serving": {"preprocessing", "features", "model"},
    "training": {"preprocessing", "features", "model"},
    "features": set(),
    "preprocessing": set(),
    "model": set(),
    "clients": set(),
    "deploy": {"app", "serving", "features", "model"},
    "benchmarks": {"app", "serving", "training", "preprocessing", "features", "model"},
}
# `./miles compile` tokenises its calibration titles as the service does.
EXCEPTIONS = {"model/compile": "preprocessing.text"}
OURS = MAY_IMPORT.keys() | {"tests"}

# The layers of serving/: a folder imports from those below it, never from one above or beside it.
STOREYS = (
    {"serving.http", "serving.process"},
    {"serving.observability"},
    {"serving.lifecycle"},
    {"serving.scoring"},
    {"serving.settings", "serving.errors", "serving.resources"},
)

# Which packages may import these at all: HTTP stays out of the model, torch stays in it.
RESERVED = {
    "fastapi": {"app", "serving", "benchmarks"},
    "starlette": {"app", "serving", "benchmarks"},
    "pydantic": {"app", "serving", "model", "features", "training"},
    "pydantic_settings": {"app", "serving"},
    "torch": {"model", "training", "benchmarks"},
    "torchvision": {"model", "training", "benchmarks"},
    "transformers": {"model", "training", "benchmarks"},
}


def modules(*packages: str) -> list[Path]:
    """Every Python file of ours, or of the named packages, as paths relative to the root."""
    found = []
    for package in packages or sorted(OURS):
        single = ROOT / f"{package}.py"
        found += [single] if single.is_file() else sorted((ROOT / package).rglob("*.py"))
    # npm's packages contain Python, too.
    return [path.relative_to(ROOT) for path in found if "node_modules" not in path.parts]


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a module of ours."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def package_of(path: Path) -> str:
    """`serving` for `serving/scoring/cache.py`, `app` for `app.py`."""
    return path.parts[0].removesuffix(".py")


def imported_packages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every absolute import, at any place.

    Those of `importlib.import_module("name")` and `__import__("name")` count; a relative import stays inside
    its own package and does not.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name.partition(".")[0]
            case ast.ImportFrom(module=str(name), level=0):
                yield node.lineno, name.partition(".")[0]
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module")
                | ast.Name(id="__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name.partition(".")[0]


def storey_of(module: str) -> int | None:
    """The number of layers above `module`'s; None outside serving/."""
    rooms = [module, ".".join(module.split(".")[:2])]
    return next((floor for floor, names in enumerate(STOREYS) if names & set(rooms)), None)


def climbing_imports(module: str, tree: ast.Module) -> list[str]:
    """Every import in `tree` from a folder of serving/ to one above or beside it."""
    floor, room = storey_of(module), module.split(".")[:2]
    if floor is None:
        return []
    wrong = []
    for line, name in imported_modules(tree):
        target = storey_of(name)
        if target is not None and name.split(".")[:2] != room and target <= floor < len(STOREYS) - 1:
            wrong.append(f"line {line}: {module} may not import {name}")
    return wrong


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every import; `from a import b` is both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def forbidden_imports(package: str, tree: ast.Module, folder: str = "") -> list[str]:
    """Every import in `tree` that a module of `package`, in `folder`, may not have, one sentence each."""
    wrong = []
    excepted = {line for line, name in imported_modules(tree) if name == EXCEPTIONS.get(folder)}
    for line, name in imported_packages(tree):
        if line in excepted:
            continue
        against_the_arrows = name in OURS and name != package and name not in MAY_IMPORT[package]
        if against_the_arrows or package not in RESERVED.get(name, {package}):
            wrong.append(f"line {line}: {package} may not import {name}")
    return wrong


def long_functions(tree: ast.Module, limit: int) -> list[str]:
    """Functions of more than `limit` lines, decorators not counted."""
    return [
        f"{node.name} has {length} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > limit
    ]
