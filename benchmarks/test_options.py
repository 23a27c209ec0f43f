"""Every option that a benchmark reads is one that it has: these scripts run too rarely for a crash to show it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = [
    path
    for path in sorted(HERE.rglob("*.py"))
    if path.stem[:5] != "test_" and path != HERE / "common.py" and "parse_args" in path.read_text()
]


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """The calls of a function or method of this name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [c for c in found if name in (getattr(c.func, "id", None), getattr(c.func, "attr", None))]


def defined(tree: ast.AST) -> set[str]:
    """Where the `add_argument` calls of a script put what was given: `dest`, or the first long flag, or the name."""
    places = set()
    for call in calls(tree, "add_argument"):
        given = [
            k.value.value for k in call.keywords if k.arg == "dest" and isinstance(k.value, ast.Constant)
        ]
        flags = [str(a.value) for a in call.args if isinstance(a, ast.Constant)]
        # A flag that the script makes up (finetune_sarcoma: one per field) names no place here; it is not read by name.
        for first in [*given, *(flag for flag in flags if flag.startswith("--")), *flags][:1]:
            places.add(str(first).lstrip("-").replace("-", "_"))
    return places


def read(tree: ast.AST) -> set[str]:
    """Attributes read from what `parse_args` returned, also where a function takes it under the name `arguments`."""
    parsed = {"arguments"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and calls(node.value, "parse_args"):
            parsed |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id in parsed
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(HERE)))
def test_every_option_that_is_read_is_defined(path: Path) -> None:
    tree = ast.parse(path.read_text())
    known = defined(tree)
    if any(isinstance(call.func, ast.Name) and call.args for call in calls(tree, "options")):
        known |= defined(ast.parse((HERE / "common.py").read_text()))
    assert read(tree) - known == set()


def test_the_fault_is_seen() -> None:
    tree = ast.parse(
        "p.add_argument('-n', '--by-organ'); p.add_argument('file'); p.add_argument('--x', dest='y')\n"
        "given = p.parse_args()\n"
        "print(given.by_organ, given.file, given.y, given.by_structure, other.thing)\n"
        "def go(arguments): return arguments.template\n"
    )
    assert defined(tree) == {"by_organ", "file", "y"}
    assert read(tree) - defined(tree) == {"by_structure", "template"}
