"""Small data: the cost of the whole tutorial run, and of recording compared with training."""

from benchmarks.measure import ROOT, fresh_scratch, in_turn, median, ratio, run, seconds
from benchmarks.report import GOAL_COLUMNS, Table, goal

PEERS = ROOT / "benchmarks" / "peers"
OURS, SCRIPT, EMPTY = "plumbline", "straightforward script", "empty flow"


def measure(rounds: int) -> list[Table]:
    """Measure both, on stores that a first round, which does not count, has created."""
    fresh_scratch()
    return [*whole_runs(rounds), *recorded_epochs(rounds)]


def whole_runs(rounds: int) -> list[Table]:
    """Run three whole processes in turn, servers included."""
    spent = in_turn(
        {
            OURS: lambda: run("-m", "flows.pipeline", ROOT / "configs" / "tutorial.yaml"),
            SCRIPT: lambda: run(PEERS / "straightforward.py"),
            EMPTY: lambda: run(PEERS / "empty_flow.py"),
        },
        rounds,
    )
    costs = [
        [n, f"{median(seconds(s)):.2f}", f"{median([e.peak for e in s]):.0f}"]
        for n, s in spent.items()
    ]
    goals = [
        goal(f"tutorial run / {SCRIPT}", ratio(seconds(spent[OURS]), seconds(spent[SCRIPT])), 0.3),
        goal(f"tutorial run / {EMPTY}", ratio(seconds(spent[OURS]), seconds(spent[EMPTY])), 0.7),
    ]
    note = f"Whole processes in turn, median of {rounds}, after one that does not count."
    return [
        Table("The tutorial, start to end", ("process", "seconds", "peak MiB"), costs, note),
        Table("The tutorial: goals", GOAL_COLUMNS, goals, note),
    ]


def recorded_epochs(rounds: int) -> list[Table]:
    """1,000 epochs with every loss in a SQLite MLflow, and the bare loop, in turn."""
    told = run("-m", "benchmarks.recorded_epochs", 5 * rounds).said
    found = ratio(told["recorded"], told["bare"])
    rows = [
        ["bare loop of the tutorial", f"{median(told['bare']):.3f}"],
        ["plumbline: plan, train, record", f"{median(told['recorded']):.3f}"],
        ["plumbline: plan, train", f"{median(told['trained']):.3f}"],
    ]
    note = (
        f"In turn in one warm process, median of {5 * rounds}; recorded means that they are in "
        "the database, under a run that exists already."
    )
    return [
        Table("1,000 epochs of the tutorial", ("what", "seconds"), rows, note),
        Table(
            "1,000 epochs: goal",
            GOAL_COLUMNS,
            [goal("trained and recorded / bare loop", found, 1.5)],
            note,
        ),
    ]
