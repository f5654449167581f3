"""Nets: a whole run, less the tutorial's, compared with the fit alone in other libraries.

Peers that are not installed (`pip install lightning pytorch_tabular`) are skipped, with a message.
"""

from functools import partial
from importlib.util import find_spec

from benchmarks.measure import (
    ROOT,
    fresh_scratch,
    in_turn,
    median,
    processor,
    ratio,
    run,
    said,
    seconds,
)
from benchmarks.report import GOAL_COLUMNS, Table, goal

BIKES, TARGET, EXCLUDED = ROOT / "data" / "bikes.csv.gz", "bikers", ["casual", "registered"]
CATEGORICAL = ["mnth", "hr", "weathersit"]
HIDDEN, BATCH, EPOCHS, RATE = [256, 256], 256, 88, 1e-3  # 3,000 steps, as by default
OURS, TUTORIAL = "plumbline: the bikes", "plumbline: the tutorial"
PEERS = {  # function in benchmarks/peers/nets.py: name, goal
    "sklearn": ("MLPRegressor", 1.0),
    "lightning": ("Lightning", 0.5),
    "pytorch_tabular": ("pytorch-tabular", 0.2),
}


def measure(rounds: int) -> list[Table]:
    """Run the net and the tutorial as whole processes, and the peers' fits on prepared rows."""
    fresh_scratch()
    same = {
        "data.path": BIKES, "data.test_fraction": 0, "model.embedding": "false",
        "model.hidden": HIDDEN, "training.batch_size": BATCH, "training.epochs": EPOCHS,
        "training.learning_rate": RATE, "training.patience": 0,
    }  # fmt: skip
    bikes = [ROOT / "configs" / "bikes.yaml", *(f"{key}={value}" for key, value in same.items())]
    jobs = {
        OURS: partial(run, "-m", "flows.pipeline", *bikes),
        TUTORIAL: partial(run, "-m", "flows.pipeline", ROOT / "configs" / "tutorial.yaml"),
    }
    for method, (name, _) in PEERS.items():
        if find_spec(method):
            jobs[name] = partial(run, "-m", "benchmarks.peers.nets", method)
        else:
            print(f"{name} is not installed: skipped")
    spent = in_turn(jobs, rounds)
    fits = {name: most for name, most in PEERS.values() if name in spent}
    costs = [
        [name, f"{median(seconds(spent[name])):.2f}", f"{median(processor(spent[name])):.2f}"]
        for name in (OURS, TUTORIAL)
    ]
    for name in fits:
        clock, used = (median(said(spent[name], key)) for key in ("work", "processor"))
        costs.append([f"{name}: the fit alone", f"{clock:.2f}", f"{used:.2f}"])
    goals = []
    for key, of_run, what in (("work", seconds, ""), ("processor", processor, ", processor time")):
        beyond = [a - b for a, b in zip(*map(of_run, (spent[OURS], spent[TUTORIAL])), strict=True)]
        goals += [
            goal(f"net's run - tutorial's / {name}'s fit{what}", ratio(beyond, fit), most)
            for name, most in fits.items()
            for fit in [said(spent[name], key)]
        ]
    note = f"{EPOCHS} epochs of {HIDDEN}, {BATCH} rows a step; in turn, median of {rounds}."
    return [
        Table("A net's run", ("what", "seconds", "processor, s"), costs, note),
        Table("A net's run: goals", GOAL_COLUMNS, goals, note),
    ]
