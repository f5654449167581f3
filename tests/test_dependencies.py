"""What is imported is declared, not only brought along by something else."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"plumbline", "tasks", "flows", "tests", "benchmarks"}
INSTALLED = packages_distributions()


def imported(folder: str) -> set[str]:
    """The packages of others that the modules in a folder import."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / folder).rglob("*.py"))
    names = {name.partition(".")[0] for tree in trees for name in _imports(tree)}
    return names - OURS - sys.stdlib_module_names


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def declared(*groups: str) -> set[str]:
    """The distributions that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [project["dependency-groups"][group] for group in groups]
    named = [*project["project"]["dependencies"], *(each for some in asked for each in some)]
    return {re.match(r"[\w-]+", each).group().lower() for each in named}


@pytest.mark.parametrize(
    ("folder", "groups"),
    [("plumbline", ()), ("tasks", ("cluster",)), ("flows", ("cluster",)),
     ("tests", ("cluster", "dev", "servers-test"))],
)  # fmt: skip
def test_every_package_that_is_imported_is_declared(folder, groups):
    found = {
        name: {d.lower() for d in INSTALLED.get(name, [name.replace("_", "-")])}
        for name in imported(folder)
    }
    named = declared(*groups)
    missing = [name for name, distributions in found.items() if not distributions & named]
    assert found
    assert not missing
