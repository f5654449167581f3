"""Plumbline's pass and its epochs without Prefect and MLflow: `python -m benchmarks.ours FOLDER
EPOCHS`. Prints one line of JSON: coefficients, and the seconds of the work, imports left out
(`processor`: of the pass, by all its threads).
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from plumbline.config.schema import TableData, Training
from plumbline.data.columns import choose_columns
from plumbline.data.files import find_files
from plumbline.data.sources import Table
from plumbline.linear.compress import compress
from plumbline.linear.sample import most_of_each
from plumbline.linear.summary import Summary, combine
from plumbline.training.loop import train_linear
from plumbline.training.plan import make_plan

WORKERS = 2  # as flows.pipeline has


def one_pass(folder: str) -> Summary:
    """Read every file once, two at a time."""
    data = TableData(kind="table", path=folder, target="y")
    files = find_files(folder)
    table = Table(files, choose_columns(data, files))
    most = most_of_each(files)

    def summarize(part: str) -> Summary:
        return compress(table, part, data, most_rows=most[part])

    with ThreadPoolExecutor(WORKERS) as pool:
        return combine(pool.map(summarize, table.parts))


def fit(folder: str, epochs: int) -> dict:
    """The least-squares solution (0 epochs), or the result of gradient descent."""
    if epochs:
        import torch._dynamo  # noqa: F401  optimizers do on first use: an import, not work
    began, used = time.perf_counter(), time.process_time()
    rows = one_pass(folder)
    training = Training(
        learning_rate=0.1, epochs=max(1, epochs), standardize=False, dtype="float64"
    )
    passed, processor = time.perf_counter(), time.process_time() - used
    plan = make_plan(rows, training)
    best = plan.optimum
    if epochs:
        best = train_linear(plan, training, "cpu", lambda epoch, loss: None).module
    ended = time.perf_counter()
    return {
        "coefficients": [best.intercept, *best.weights.tolist()],
        "work": ended - began,
        "pass": passed - began,
        "processor": processor,
        "epochs": ended - passed,
    }


if __name__ == "__main__":
    print(json.dumps(fit(sys.argv[1], int(sys.argv[2]))))
