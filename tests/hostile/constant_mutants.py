"""Changes every constant of the guard in turn and asks whether a verdict changes: `python -m` prints JSON.

mutmut changes what functions do; the guard's verdicts also depend on its tables, patterns and limits. Each
integer is raised and lowered by one; each text loses each of its characters in turn, each table each entry.
A mutant that cannot be imported counts as killed: the service would not start.
"""

import ast
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

# Imported before the forks, so that no mutant pays for them.
import hypothesis.strategies
import pytest

from tests.support.house import ROOT

GUARD = ("preprocessing/thumbnails/policy.py", "preprocessing/thumbnails/urls.py")
VERDICTS = "tests.hostile.guard_verdicts"


_AUTHORITY = r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(?::([1-9][0-9]{0,4}))?"
# Changes that change no verdict, by the text that they leave, and why.
EQUIVALENT = {
    r"[\00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffd]": "\\00 and \\x00 are one character",
    _AUTHORITY.replace(r"(\[", "([", 1): "what then passes as a host is neither a name nor an address",
    _AUTHORITY.replace("0-9a-f", "0-a-f", 1): "the text in brackets is read by IPv6Address",
    _AUTHORITY.replace(r"+\]", "+]", 1): "a closing bracket needs no backslash there",
    _AUTHORITY.replace(r"[^\[", "[^[", 1): "an opening bracket needs no backslash there",
    _AUTHORITY.replace(r"\]:", r"\:", 1): "a name with a closing bracket is refused by its label",
    _AUTHORITY.replace("{0,4}", "{,4}"): "another spelling of the same count",
    _AUTHORITY.replace("{0,4}", "{0,}"): "a port of six digits is refused as too high",
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """What a constant became, and the whole source with that change, for every constant of a module."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            for node in ast.walk(statement.value):
                yield from _changed(source, node)


def _changed(source: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Constant(value=bool()):
            return
        case ast.Constant(value=int(number)):
            for other in (number - 1, number + 1):
                yield f"{number} as {other}", _replaced(source, node, repr(other))
        case ast.Constant(value=str(text)):
            for index in range(len(text)):
                other = text[:index] + text[index + 1 :]
                yield other, _replaced(source, node, repr(other))
        case ast.Tuple(elts=entries) if len(entries) > 1:
            for entry in entries:
                rest = ", ".join(ast.unparse(each) for each in entries if each is not entry)
                yield f"without {ast.unparse(entry)}", _replaced(source, node, f"({rest},)")


def _replaced(source: str, node: ast.Constant | ast.Tuple, text: str) -> str:
    lines = source.splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    # The parser counts bytes.
    head = lines[first].encode()[: node.col_offset].decode()
    tail = lines[last].encode()[node.end_col_offset :].decode()
    return "".join([*lines[:first], head + text + tail, *lines[last + 1 :]])


def survives(name: str, source: str) -> bool:
    """Whether every verdict stays the same with this source in a module's place; tested in a fork."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a mutant's output is discarded
    try:
        module = ModuleType(name)
        sys.modules[name] = module
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102  our own source, changed by us
        verdicts = importlib.import_module(VERDICTS)
        tests: list[Callable[[], None]]
        tests = [value for key, value in vars(verdicts).items() if key.startswith("test_")]
        for test in tests:
            test()
    except BaseException:
        os._exit(1)
    os._exit(0)


def main() -> None:
    assert hypothesis.strategies
    assert pytest
    tried, alive = 0, []
    for path in GUARD:
        source = (ROOT / path).read_text(encoding="utf-8")
        name = path.removesuffix(".py").replace("/", ".")
        assert survives(name, source), f"{path}: the unchanged guard fails its own verdicts"
        for change, mutant in mutants(source):
            tried += 1
            if change not in EQUIVALENT and survives(name, mutant):
                alive.append(f"{path}: {change}")
    print(json.dumps({"tried": tried, "equivalent": len(EQUIVALENT), "alive": alive}))


if __name__ == "__main__":
    main()
