"""Rules about the source that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mpccompile"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
# A library that only some folders may import; lint-imports cannot name submodules of other packages.
AT_HOME = {
    "crypten": ("mpccompile/runtime/",),
    "onnx": ("mpccompile/capture/",),
    "torch.export": ("mpccompile/capture/",),
}
# What runs passes is none itself.
NOT_PASSES = {"__init__.py", "driver.py"}


def python_files(*folders):
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imported_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def body_lines(function):
    """Lines of a function without its decorators, signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def pass_functions(tree):
    """Public functions of a module that make a Program of a Program."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return [
        function
        for function in functions
        if function.returns is not None
        and ast.unparse(function.returns) == "Program"
        and function.args.args
        and function.args.args[0].annotation is not None
        and ast.unparse(function.args.args[0].annotation) == "Program"
    ]


SOURCES = python_files("mpccompile")
EXAMPLES = python_files("examples")
PASSES = [path for path in SOURCES if path.parent.name == "passes" and path.name not in NOT_PASSES]


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_example_has_a_main(path):
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "main" in functions
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_file_is_short_and_says_what_it_is(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "the module has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_are_short(path):
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    long = {node.name: body_lines(node) for node in functions if body_lines(node) > MAX_FUNCTION_LINES}
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_heavy_libraries_stay_at_home(path):
    for name in imported_names(ast.parse(path.read_text())):
        for library, homes in AT_HOME.items():
            if name == library or name.startswith(f"{library}."):
                assert name_of(path).startswith(homes), f"{name} is imported"


def test_graphs_are_edited_in_ir_only():
    edit = re.compile(r"graph\.(call_function|create_node)\b")
    elsewhere = [path for path in SOURCES if path.parent.name != "ir" and edit.search(path.read_text())]
    assert not elsewhere, "use mpccompile.ir.rewrite, which keeps where a node came from"


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.])/(home|root|tmp|work|mnt|opt|Users|var)/")
    texts = [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "pyproject.toml", "constraints.txt")]
    files = [*python_files("mpccompile", "examples"), *(path for path in texts if path.exists())]
    assert not [name_of(path) for path in files if place.search(path.read_text())]


@pytest.mark.parametrize("path", PASSES, ids=name_of)
def test_pass_is_named_as_its_file_and_shows_before_and_after(path):
    passes = pass_functions(ast.parse(path.read_text()))
    assert [function.name for function in passes] in ([], [path.stem]), "one pass per file"
    for function in passes:
        docstring = ast.get_docstring(function) or ""
        assert "before:" in docstring
        assert "after:" in docstring


@pytest.mark.parametrize("name", ["passes", "runtime"])
def test_root_link_leads_into_the_package(name):
    link = ROOT / name
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == PACKAGE / name
