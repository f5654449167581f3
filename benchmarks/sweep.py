"""Sweeps: 200 trials of 1,000 epochs, compared with 200 single runs and a plain nested loop."""

from benchmarks.measure import (
    ROOT,
    SCRATCH,
    fresh_scratch,
    in_turn,
    median,
    ratio,
    run,
    said,
    seconds,
)
from benchmarks.report import GOAL_COLUMNS, Table, goal

PEERS = ROOT / "benchmarks" / "peers"
TRIALS, PLAIN_TRIALS = 200, 10
SWEEP = """
base: {base}
experiment: sweep
sweep:
  method: random
  trials: {trials}
  parameters:
    training.learning_rate: {{low: 0.001, high: 0.1, log: true}}
    training.optimizer: [sgd, adam]
"""
OURS, SINGLE, PLAIN = "make sweep", "make run-pipeline", "plain nested loop"


def measure(rounds: int) -> list[Table]:
    """Run the sweep, one single run, and the plain loop with fewer trials, in turn."""
    fresh_scratch()
    tutorial, path = ROOT / "configs" / "tutorial.yaml", SCRATCH / "sweep.yaml"
    path.write_text(SWEEP.format(base=tutorial, trials=TRIALS))
    spent = in_turn(
        {
            OURS: lambda: run("-m", "flows.sweep", path),
            SINGLE: lambda: run("-m", "flows.pipeline", tutorial),
            PLAIN: lambda: run(PEERS / "plain_sweep.py", PLAIN_TRIALS),
        },
        rounds,
    )
    ours = seconds(spent[OURS])
    singles = [TRIALS * each for each in seconds(spent[SINGLE])]
    plain = [TRIALS * each for each in said(spent[PLAIN], "trial")]
    note = (
        f"{TRIALS} trials of 1,000 epochs, every loss recorded; in turn, median of {rounds}. The "
        f"single runs are one run times {TRIALS}; the plain loop is the time of a trial (of "
        f"{PLAIN_TRIALS} run) times {TRIALS}, its start left out."
    )
    peaks = [f"{median([each.peak for each in spent[name]]):.0f}" for name in spent]
    names = (OURS, f"{TRIALS} × {SINGLE}", PLAIN)
    rows = [
        [name, f"{median(found):.1f}", peak]
        for name, found, peak in zip(names, (ours, singles, plain), peaks, strict=True)
    ]
    goals = [
        goal(f"sweep / {TRIALS} single runs", ratio(ours, singles), 0.02),
        [f"sweep / {PLAIN}", f"{ratio(ours, plain)} ×", "", ""],
    ]
    return [
        Table("A sweep", ("what", "seconds", "peak MiB"), rows, note),
        Table("A sweep: goal", GOAL_COLUMNS, goals, note),
    ]
