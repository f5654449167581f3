"""Windows over many files: the same answer from the cache as from the rows, and exact counts."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run

from tests.flows.conftest import Workspace

pytestmark = pytest.mark.slow
FILES, ROWS = 130, 6
CONFIG = """
experiment: windows
data: {kind: table, path: windows, target: y}
training: {learning_rate: auto, tolerance: 1e-12}
"""


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


def add_file(folder: Path, number: int) -> None:
    """Six rows, whose line moves from file to file."""
    random = np.random.default_rng(number)
    x = random.normal(size=ROWS)
    y = (1 + number / FILES) * x + random.normal(size=ROWS)
    lines = [f"{a!r},{b!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    (folder / f"part-{number:03}.csv").write_text("x,y\n" + "\n".join(lines) + "\n")


def run(workspace: Workspace, *overrides: str) -> Run:
    done = workspace.pipeline("windows.yaml", *overrides)
    assert done.status == 0, done
    return workspace.runs("windows")[0]


def counts(found: Run) -> tuple[float | None, ...]:
    """(new, reused, left out) files, then rows."""
    return tuple(
        found.data.metrics.get(f"{what}_{share}")
        for what in ("files", "rows")
        for share in ("new", "reused", "left_out")
    )


def coefficients(workspace: Workspace, found: Run) -> list[float]:
    """(intercept, weight) as the exact fit has them."""
    path = workspace.client.download_artifacts(found.info.run_id, "coefficients.json")
    return [line["least_squares"] for line in json.loads(Path(path).read_text()).values()]


def expected(folder: Path, weights: np.ndarray) -> list[float]:
    """The weighted least-squares fit, a weight a file."""
    rows = np.concatenate(
        [np.loadtxt(p, delimiter=",", skiprows=1) for p in sorted(folder.iterdir())]
    )
    scale = np.sqrt(np.repeat(weights, ROWS))[:, None]
    design = np.column_stack([np.ones(len(rows)), rows[:, 0]])
    return np.linalg.lstsq(design * scale, rows[:, 1] * scale[:, 0], rcond=None)[0].tolist()


def test_a_window_moves_on_over_what_was_read_before(workspace: Workspace) -> None:
    folder = workspace.root / "windows"
    folder.mkdir()
    (workspace.root / "windows.yaml").write_text(CONFIG)
    for number in range(FILES):
        add_file(folder, number)

    last = run(workspace, "data.window.files=70")
    assert counts(last) == (70, 0, 60, 70 * ROWS, 0, 60 * ROWS)
    weights = np.arange(FILES) >= 60
    assert coefficients(workspace, last) == pytest.approx(expected(folder, weights), rel=1e-9)

    faded = run(workspace, "data.window.half_life=10")
    assert counts(faded) == (60, 70, 0, 60 * ROWS, 70 * ROWS, 0)
    weights = 0.5 ** (np.arange(FILES)[::-1] / 10)
    assert coefficients(workspace, faded) == pytest.approx(expected(folder, weights), rel=1e-9)

    add_file(folder, FILES)
    (folder / "part-000.csv").write_text("no,table\n1,2,3\n")  # outside: nobody reads it
    last = run(workspace, "data.window.files=70")
    assert counts(last) == (1, 69, 61, ROWS, 69 * ROWS, None)  # how many rows cannot be told
    add_file(folder, 0)

    faded = run(workspace, "data.window.half_life=10")
    assert counts(faded) == (1, FILES, 0, ROWS, FILES * ROWS, 0)
    weights = 0.5 ** (np.arange(FILES + 1)[::-1] / 10)
    assert coefficients(workspace, faded) == pytest.approx(expected(folder, weights), rel=1e-9)

    for path in (workspace.root / ".prefect" / "storage").iterdir():
        path.unlink()
    again = run(workspace, "data.window.half_life=10")
    assert again.data.metrics["files_reused"] == 0
    assert again.data.metrics["optimal_mse"] == faded.data.metrics["optimal_mse"]
    assert coefficients(workspace, again) == coefficients(workspace, faded)
