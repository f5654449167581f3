"""Shuffled mini-batches: training a linear model on a table, compared with loops and data loaders.

Peers that are not installed (`pip install lightning datasets`) are skipped, with a message.
"""

from functools import partial
from importlib.util import find_spec

from benchmarks.measure import fresh_scratch, in_turn, median, ratio, run, said
from benchmarks.report import GOAL_COLUMNS, Table, goal
from benchmarks.tables import repeated, table

OURS, STREAMED = "plumbline, rows kept", "plumbline, 20 MiB kept: streamed"
READING, SLICED, LOADER = (
    "reading alone",
    "slices of a shuffled tensor",
    "DataLoader(TensorDataset)",
)
PEERS = {
    OURS: "plumbline",
    STREAMED: "plumbline_streamed",
    SLICED: "sliced",
    "scikit-learn partial_fit": "sklearn",
    LOADER: "dataloader",
    "Lightning, the same DataLoader": "lightning",
    "Hugging Face datasets, through a buffer": "datasets",
}
SMALL, LARGE = 1024, 16_384


def measure(rows: int, rounds: int, times: int) -> list[Table]:
    """Run all in turn; the goals are for wall-clock time. Memory is measured at 10 M rows and at a
    multiple of that."""
    fresh_scratch()
    folder = table(rows, files=20)
    method = partial(partial, run, "-m", "benchmarks.peers.batches")
    found = ("plumbline", "sliced", "dataloader", "sklearn")
    names = [n for n, m in PEERS.items() if m.startswith(found) or find_spec(m)]
    for name in PEERS.keys() - set(names):
        print(f"{name}: not installed, and left out")
    jobs = {name: method(PEERS[name], folder, SMALL) for name in names}
    first = f"{OURS}, {LARGE:,} rows a step"
    jobs |= {first: method("plumbline", folder, LARGE), READING: method("reading", folder, SMALL)}
    spent = in_turn(jobs, rounds, warm=False)
    lines = [
        [
            name,
            *(f"{median(said(each, key)):.2f}" for key in ("first", "epoch")),
            f"{rows / median(said(each, 'epoch')):,.0f}",
            f"{median([one.peak for one in each]):.0f}",
        ]
        for name, each in spent.items()
    ]
    epoch = {name: said(each, "epoch") for name, each in spent.items()}
    goals = [
        goal("an epoch, rows kept / sliced loop", ratio(epoch[OURS], epoch[SLICED]), 1),
        goal("an epoch, streamed / sliced loop", ratio(epoch[STREAMED], epoch[SLICED]), 1),
        goal("an epoch, rows kept / DataLoader", ratio(epoch[OURS], epoch[LOADER]), 0.05),
        goal(
            f"first epoch, {LARGE:,} a step / just reading",
            ratio(said(spent[first], "first"), epoch[READING]),
            2,
        ),
    ]
    note = (
        f"{SMALL:,} rows a step, one thread of torch, median of {rounds}. Loaders are timed for "
        "300 steps, and scaled. Peak: the whole process, ours with its one pass."
    )
    columns = ("what", "first epoch, s", "a later one, s", "rows a second", "peak MiB")
    return [
        Table(f"Shuffled batches: {rows:,} rows × 20 features", columns, lines, note),
        Table("Shuffled batches: goals", GOAL_COLUMNS, goals, note),
        Table("A net's memory: goal", GOAL_COLUMNS, [_memory(times)], "Rows read every epoch."),
    ]


def _memory(times: int) -> list[str]:
    """Peak memory of an epoch of a net on rows that do not fit into memory."""
    block, million = table(2_000_000, files=20), 10 * times
    few, many = (
        run("-m", "benchmarks.peers.batches", "plumbline_net", repeated(block, n), LARGE).peak
        for n in (5, 5 * times)
    )
    return goal(f"peak, {million} M rows / 10 M", ratio([many], [few]), 1.2)
