"""Least squares on Parquet files with common tools: `python -m benchmarks.peers.fitting
METHOD FOLDER [EPOCHS]`. Each method reads the files and prints one line of JSON: the coefficients
[intercept, weights] and the seconds of its work, imports left out.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.peers.reading import THREADS, blocks, everything, file_blocks, paths, read_only


def reading(folder: Path) -> dict:
    """Read and do nothing: the lower bound of every method."""
    began, used = time.perf_counter(), time.process_time()
    read_only(folder)
    processor = time.process_time() - used
    return {"work": time.perf_counter() - began, "processor": processor}


def normal_equations(folder: Path) -> dict:
    """AᵀA in float64, chunk by chunk, two files at a time: fast, and squares the condition."""
    began = time.perf_counter()

    def gram(path: Path) -> np.ndarray:
        total = 0.0
        for x, y in file_blocks(path):
            a = np.column_stack([np.ones(len(x)), x, y])
            total = total + a.T @ a
        return total

    with ThreadPoolExecutor(THREADS) as pool:
        total = sum(pool.map(gram, paths(folder)))
    return found(began, np.linalg.solve(total[:-1, :-1], total[:-1, -1]))


def numpy_lstsq(folder: Path) -> dict:
    """numpy.linalg.lstsq (SVD) on all rows in float64."""
    began = time.perf_counter()
    x, y = everything(folder)
    a = np.empty((len(x), x.shape[1] + 1))
    a[:, 0], a[:, 1:] = 1.0, x
    return found(began, np.linalg.lstsq(a, y.astype(float), rcond=None)[0])


def sklearn_float32(folder: Path) -> dict:
    """scikit-learn's LinearRegression on all rows as they are stored."""
    return _linear_regression(folder, np.float32)


def sklearn_float64(folder: Path) -> dict:
    """scikit-learn's LinearRegression on all rows in float64."""
    return _linear_regression(folder, np.float64)


def _linear_regression(folder: Path, dtype: type) -> dict:
    from sklearn.linear_model import LinearRegression

    began = time.perf_counter()
    x, y = everything(folder)
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    fitted = LinearRegression(copy_X=False).fit(x, y)
    return found(began, [fitted.intercept_, *fitted.coef_])


def sklearn_sgd(folder: Path) -> dict:
    """scikit-learn's SGDRegressor with its defaults, streaming the rows once: partial_fit."""
    from sklearn.linear_model import SGDRegressor

    began = time.perf_counter()
    model = SGDRegressor(random_state=0)
    for x, y in blocks(folder):
        model.partial_fit(np.ascontiguousarray(x), y)
    return found(began, [model.intercept_[0], *model.coef_])


def plain_torch(folder: Path, epochs: int = 1000) -> dict:
    """The tutorial's full-batch loop on rows in memory; `work` is the loop alone, not reading."""
    import torch
    import torch._dynamo  # optimizers import it on first use; here it counts as an import

    x, y = (torch.from_numpy(part) for part in everything(folder))
    y = y[:, None]
    torch.manual_seed(42)
    model, criterion = torch.nn.Linear(x.shape[1], 1), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    began = time.perf_counter()
    for _ in range(epochs):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return found(began, [*model.bias.tolist(), *model.weight[0].tolist()])


def found(began: float, coefficients: list[float] | np.ndarray) -> dict:
    """The output of a method."""
    work = time.perf_counter() - began
    return {"work": work, "coefficients": [float(value) for value in coefficients]}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))))
