"""Growth: the cost of the pass by rows, features and files, and of training by epochs."""

from pathlib import Path

from benchmarks.measure import ROOT, fresh_scratch, median, run, said
from benchmarks.report import Table
from benchmarks.tables import repeated, table

PICTURE = ROOT / "docs" / "growth.png"
Curve = list[tuple[int, float]]


def measure(rounds: int) -> list[Table]:
    """Vary one quantity at a time around 1 M rows, 20 features, 10 files."""
    fresh_scratch()
    block = table(1_000_000, files=10)
    curves = {
        "rows": [(n * 1_000_000, _pass(repeated(block, n), rounds)) for n in (1, 2, 4, 8)],
        "features": [
            (d, _pass(table(200_000, d, files=10), rounds)) for d in (5, 10, 20, 40, 80, 160)
        ],
        "files": [(n, _pass(table(1_000_000, files=n), rounds)) for n in (10, 100, 1000)],
        "epochs": [(n, _epochs(block, n, rounds)) for n in (1000, 2000, 4000, 8000)],
    }
    draw(curves, PICTURE)
    lines = [
        [name, ", ".join(f"{n:,}: {value:.2f}" for n, value in curve)]
        for name, curve in curves.items()
    ]
    note = (
        "The pass over 1,000,000 rows × 20 features in 10 files, one of them varied (features: "
        f"200,000 rows); epochs: training alone. Imports left out, median of {rounds}."
    )
    return [Table("Growth", ("varied", "seconds"), lines, note)]


def _pass(folder: Path, rounds: int) -> float:
    return median(said([run("-m", "benchmarks.ours", folder, 0) for _ in range(rounds)], "pass"))


def _epochs(folder: Path, epochs: int, rounds: int) -> float:
    spent = [run("-m", "benchmarks.ours", folder, epochs) for _ in range(rounds)]
    return median(said(spent, "epochs"))


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw four panels with logarithmic axes, each with a line of linear growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), dpi=110, layout="constrained")
    for axes, (name, curve) in zip(figure.subplots(1, 4, sharey=True), curves.items(), strict=True):
        counts, seconds = zip(*curve, strict=True)
        linear = [seconds[-1] * n / counts[-1] for n in counts]
        axes.loglog(counts, linear, color="#8a8a8a", linestyle=":", label="linear")
        axes.loglog(counts, seconds, color="#1f5a94", marker="o", label="measured")
        axes.set_xticks(counts, [f"{n / 1e6:g} M" if n >= 1e6 else f"{n:,}" for n in counts])
        axes.minorticks_off()
        axes.set(xlabel=name, title="training" if name == "epochs" else "the pass")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path)
