"""The layers: imports go one way, in the whole house and inside the core."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("plumbline", "tasks", "flows")
CORE = ("config", "data", "linear", "training", "registry")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def wrong(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    """What a folder's files import of what they must not."""
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path)
        if any(name == each or name.startswith(f"{each}.") for each in forbidden)
    }
    return sorted(found)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer: str) -> None:
    assert wrong(layer, LAYERS[LAYERS.index(layer) + 1 :]) == []


@pytest.mark.parametrize("part", CORE)
def test_no_part_of_the_core_imports_one_above_it(part: str) -> None:
    above = tuple(f"plumbline.{each}" for each in CORE[CORE.index(part) + 1 :])
    assert wrong(f"plumbline/{part}", above) == []


def test_the_core_knows_neither_prefect_nor_mlflow() -> None:
    assert wrong("plumbline", ("prefect", "mlflow")) == []


def test_mlflow_is_imported_by_tracking_alone() -> None:
    found = wrong("tasks", ("mlflow",)) + wrong("flows", ("mlflow",))
    assert [each for each in found if not each.startswith("tasks/tracking/")] == []


def test_no_import_goes_in_a_circle() -> None:
    paths = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    left = {name: {*imported(path)} & {*modules} for name, path in modules.items()}
    while free := [name for name, needs in left.items() if not needs & {*left} - {name}]:
        for name in free:
            del left[name]
    assert sorted(left) == []
