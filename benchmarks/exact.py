"""Exact solvers beyond least squares: a penalty's path, logistic and Poisson regression, a net's
last layer; compared with scikit-learn, statsmodels and glum.

Peers that are not installed (`pip install statsmodels glum`) are skipped, with a message.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measure import fresh_scratch, in_turn, median, ratio, run, said
from benchmarks.report import Table
from benchmarks.tables import table

PATH = {
    "plumbline, R factors known": "plumbline_path",
    "scikit-learn LassoCV, rows in memory": "sklearn_path",
    "glum, rows in memory": "glum_path",
}
LIKELIHOOD = {
    "plumbline newton": "plumbline_newton",
    "scikit-learn, newton-cholesky": "sklearn_newton",
    "scikit-learn, defaults": "sklearn_lbfgs",
    "statsmodels GLM": "statsmodels_glm",
    "glum": "glum_glm",
}
HEAD = {
    "plumbline, ridge by 10 folds": "plumbline_head",
    "scikit-learn RidgeCV, leave-one-out": "sklearn_head",
}
MISSED = "Error: by how much the optimality conditions are missed, in strengths."
STEP = (
    "From the first file on. Error: the share by which one more Newton step changes a coefficient."
)
SCORE = "Rows in memory. Error: the mean squared error on a tenth of the rows."


def measure(rows: int, rounds: int) -> list[Table]:
    """Run four comparisons; the path, slow elsewhere, and the head use a tenth of the rows."""
    fresh_scratch()
    folder, few = table(rows), table(rows // 10)
    classes, counts = (folder.with_name(f"{folder.name}-{name}") for name in ("classes", "counts"))
    if not counts.exists():
        run("-m", "benchmarks.peers.exact", "write", folder)
    many, fewer = f"{rows:,} rows × 20 features", f"{rows // 10:,} rows"
    return [
        compared(f"Lasso path of 100 strengths × 10 folds, {fewer}", PATH, few, rounds, MISSED),
        compared(f"Logistic regression, {many}", LIKELIHOOD, classes, rounds, STEP),
        compared(f"Poisson regression, {many}", LIKELIHOOD, counts, rounds, STEP),
        compared(f"A net's last layer, {fewer} × 256 units", HEAD, few, rounds, SCORE),
    ]


def compared(title: str, methods: dict[str, str], folder: Path, rounds: int, error: str) -> Table:
    """The cost of each contender, and the ratio of ours, the first, to it."""
    there = {n: m for n, m in methods.items() if find_spec(m.partition("_")[0])}
    for name in methods.keys() - there.keys():
        print(f"{name}: not installed, and left out")
    jobs = {n: partial(run, "-m", "benchmarks.peers.exact", m, folder) for n, m in there.items()}
    spent = in_turn(jobs, rounds, warm=False)
    work, processor = (
        {n: said(each, key) for n, each in spent.items()} for key in ("work", "processor")
    )
    first, *others = spent
    lines = []
    for name, each in spent.items():
        ratios = [str(ratio(times[first], times[name])) for times in (work, processor)]
        lines.append(
            [
                name,
                f"{median(work[name]):.3g}",
                f"{median(processor[name]):.3g}",
                *(ratios if name in others else ["", ""]),
                f"{median(said(each, 'error')):.2g}",
            ]
        )
    columns = ("what", "work, s", "processor, s", "ours / this", "in processor time", "error")
    return Table(
        title, columns, lines, f"Medians of {rounds} runs in turn, imports left out. {error}"
    )
