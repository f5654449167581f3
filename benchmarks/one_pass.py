"""Parquet files: the pass and 1,000 epochs, compared with reading alone, exact solvers and the
plain loop. Every contender is a process of its own that reads the files itself.
"""

from functools import partial
from pathlib import Path

from benchmarks.measure import Spent, fresh_scratch, in_turn, median, ratio, run, said
from benchmarks.report import GOAL_COLUMNS, Table, goal
from benchmarks.tables import solution, table

OURS, PASS = "plumbline: the pass and 1,000 epochs", "plumbline: the pass (least squares)"
READING, LOOP = "reading and doing nothing", "plain PyTorch, 1,000 epochs"
PEERS = {
    READING: "reading",
    "normal equations, chunked float64": "normal_equations",
    "NumPy lstsq, float64": "numpy_lstsq",
    "scikit-learn LinearRegression, float32": "sklearn_float32",
    "scikit-learn LinearRegression, float64": "sklearn_float64",
    "scikit-learn SGDRegressor.partial_fit": "sklearn_sgd",
}
EPOCHS = 1000
AS_EXACT = 1e-10  # worst relative error of coefficients that count as good as ours


def measure(rows: int, rounds: int, loop_epochs: int) -> list[Table]:
    """Run all contenders in turn; the plain loop, which is slow, once a round."""
    fresh_scratch()
    folder = table(rows)
    ours = {
        OURS: partial(run, "-m", "benchmarks.ours", folder, EPOCHS),
        PASS: partial(run, "-m", "benchmarks.ours", folder, 0),
    }
    peers = {
        name: partial(run, "-m", "benchmarks.peers.fitting", method, folder)
        for name, method in PEERS.items()
    }
    loop = partial(run, "-m", "benchmarks.peers.fitting", "plain_torch", folder, loop_epochs)
    spent = in_turn({**ours, **peers, LOOP: loop}, rounds, warm=False)
    scale = EPOCHS / loop_epochs
    return [contenders(spent, folder, rows, scale), goals(spent, scale)]


def contenders(spent: dict[str, list[Spent]], folder: Path, rows: int, scale: float) -> Table:
    """The cost and the error of each contender."""
    ours = spent[PASS]
    lines = []
    for name, each in spent.items():
        factor = scale if name == LOOP else 1.0
        work = median(said(each, "work")) * factor
        whole = "" if name == LOOP else f"{median([s.seconds for s in each]):.2f}"
        error = worst_error(each[0], folder) if factor == 1.0 else None
        peer = error is not None and name not in (OURS, PASS, LOOP)
        faster = peer and work < median(said(ours, "work"))
        mark = (" **faster**" if error < AS_EXACT else " **faster, less exact**") if faster else ""
        lines.append(
            [
                name + mark,
                f"{work:.2f}",
                whole,
                f"{median([s.peak for s in each]):.0f}",
                "" if error is None else f"{error:.1e}",
            ]
        )
    columns = ("process", "work, s", "with imports, s", "peak MiB", "worst relative error")
    note = (
        f"Medians of {len(ours)} runs in turn. Work: from the first file to the coefficients, "
        "reading included, imports left out; the plain loop's is the loop alone, rows already in "
        f"memory{f', timed for {EPOCHS / scale:.0f} epochs and scaled' if scale != 1 else ''}. "
        "Error: of the worst coefficient against a solution in extended precision. Marked: peers "
        "that do the work faster than our pass."
    )
    return Table(f"One pass: {rows:,} rows × 20 features in 100 files", columns, lines, note)


def goals(spent: dict[str, list[Spent]], scale: float) -> Table:
    """The two goals, for the work alone and for whole processes with their imports."""
    loop = [value * scale for value in said(spent[LOOP], "work")]
    reading = said(spent[READING], "work")
    whole = {name: [each.seconds for each in spent[name]] for name in (OURS, PASS, READING)}
    lines = [
        goal("pass and 1,000 epochs / plain loop", ratio(said(spent[OURS], "work"), loop), 0.03),
        goal("the same, our imports included", ratio(whole[OURS], loop), 0.03),
        goal("the pass / just reading", ratio(said(spent[PASS], "pass"), reading), 2),
        goal(
            "the same, in processor time",
            ratio(*(said(spent[n], "processor") for n in (PASS, READING))),
            2,
        ),
        goal("the same, both whole processes", ratio(whole[PASS], whole[READING]), 2),
    ]
    return Table("One pass: goals", GOAL_COLUMNS, lines, "The goals are for 10 M rows.")


def worst_error(spent: Spent, folder: Path) -> float | None:
    """The largest relative error of a coefficient; None for a contender without coefficients."""
    if "coefficients" not in spent.said:
        return None
    pairs = zip(spent.said["coefficients"], solution(folder), strict=True)
    return max(abs(found - exact) / abs(exact) for found, exact in pairs)
