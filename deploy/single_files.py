"""Writes the single files that users copy from the modules of miles_client: python -m deploy.single_files.

clients/trigger_inference.py and clients/score_csv.py hold every module that they need, so that they run with
httpx as the only package. Edit the modules in clients/python, then run this.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLIENTS = Path(__file__).parent.parent / "clients"
SOURCE = CLIENTS / "python" / "src"
PACKAGE = "miles_client"
ENTRIES = {
    "trigger_inference.py": f"{PACKAGE}.table.__main__",
    "score_csv.py": f"{PACKAGE}.files.__main__",
}
IMPORT_HTTPX = """
try:
    import httpx
except ModuleNotFoundError:
    sys.exit("this needs httpx: pip install httpx")
"""
NOTE = "# Written by `python -m deploy.single_files` from the modules in clients/python: edit those."


def single_file(entry: str, source: Path = SOURCE) -> str:
    """One file with `entry` and every module of the package that it imports, dependencies first.

    Raises `ValueError` where two modules define the same name, or one imports under another name.
    """
    modules: dict[str, ast.Module] = {}
    _collect(entry, modules, source)
    owners: dict[str, str] = {}
    for module, tree in modules.items():
        for name in _defined(tree):
            if owners.setdefault(name, module) != module:
                raise ValueError(f"{name} is defined in {owners[name]} and in {module}: rename one of them")
    imports = sorted({line for tree in modules.values() for line in _foreign_imports(tree)})
    bodies = [f"# {module}\n\n\n{_body(_text(module, source), tree)}" for module, tree in modules.items()]
    docstring = _text(entry, source).split('"""\n', 1)[0]
    parts = [f'#!/usr/bin/env python3\n{docstring}"""', NOTE, "\n".join(imports), *bodies]
    return _tidied("\n\n\n".join(parts) + "\n").replace("\nimport httpx\n", IMPORT_HTTPX, 1)


def _tidied(text: str) -> str:
    """The imports sorted and joined, and everything formatted like the rest of the repository."""
    for words in (["check", "--fix", "--quiet", "--select", "I"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(CLIENTS / "file.py"), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return text


def _text(module: str, source: Path) -> str:
    return (source / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")


def _collect(module: str, found: dict[str, ast.Module], source: Path) -> None:
    """Add the module after those that it imports."""
    if module in found:
        return
    tree = ast.parse(_text(module, source))
    for node in _imports(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            if any(alias.asname for alias in node.names):
                raise ValueError(f"{module} imports from {node.module} under another name")
            _collect(str(node.module), found, source)
    found[module] = tree


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports at the top of a module; those within functions stay where they are."""
    return (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


def _foreign_imports(tree: ast.Module) -> Iterator[str]:
    """One line for each name, so that equal ones of several modules are one."""
    for node in _imports(tree):
        prefix = f"from {node.module} import" if isinstance(node, ast.ImportFrom) else "import"
        if not prefix.startswith(f"from {PACKAGE}"):
            yield from (f"{prefix} {ast.unparse(alias)}" for alias in node.names)


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from (name.id for name in names if isinstance(name, ast.Name))


def _body(text: str, tree: ast.Module) -> str:
    """The source after the imports, comments included."""
    head = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    start = max((node.end_lineno or 0 for node in head if node.lineno < _first_statement(tree)), default=0)
    return "\n".join(text.split("\n")[start:]).strip("\n")


def _first_statement(tree: ast.Module) -> int:
    """The line of the first statement after docstring and imports."""
    kinds = ast.Import | ast.ImportFrom | ast.Expr
    return next(node.lineno for node in tree.body if not isinstance(node, kinds))


def main() -> None:
    """Write both files."""
    for name, entry in ENTRIES.items():
        (CLIENTS / name).write_text(single_file(entry), encoding="utf-8")
        print(f"clients/{name}")


if __name__ == "__main__":
    main()
