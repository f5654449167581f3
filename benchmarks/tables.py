"""The data: Parquet files of float32 features x0, x1, ... and y = 3 + X w + noise.

`python -m benchmarks.tables ROWS FEATURES FILES FOLDER` writes them, with the exact least-squares
solution in exact.json beside them. Features are standard normal, so that every peer, gradient
descent included, gets to the solution; weights are 0.5 to 2 in size, so that relative errors mean
something.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from benchmarks.measure import DATA, run


def table(rows: int, features: int = 20, files: int = 100) -> Path:
    """The folder of such a table; the first call writes it, in a process of its own."""
    folder = DATA / "tables" / f"rows{rows}-features{features}-files{files}"
    if not (folder / "exact.json").exists():
        run("-m", "benchmarks.tables", rows, features, files, folder)
    return folder


def repeated(folder: Path, times: int) -> Path:
    """A folder with `times` hard links to every file, which take no disk space."""
    many = folder.with_name(f"{folder.name}-times{times}")
    shutil.rmtree(many, ignore_errors=True)
    many.mkdir()
    for number in range(times):
        for file in sorted(folder.glob("*.parquet")):
            os.link(file, many / f"{number:04}-{file.name}")
    return many


def write(rows: int, features: int, files: int, folder: Path) -> None:
    """Write the files and their exact solution."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    weights = random.uniform(0.5, 2.0, features) * random.choice([-1, 1], features)
    for number in range(files):
        x = random.standard_normal((rows // files, features), dtype=np.float32)
        y = (3 + x @ weights + random.standard_normal(len(x))).astype(np.float32)
        columns = {f"x{i}": x[:, i] for i in range(features)} | {"y": y}
        pq.write_table(pa.table(columns), folder / f"part{number:04}.parquet")
    (folder / "exact.json").write_text(json.dumps(exact(folder)))


def exact(folder: Path) -> list[float]:
    """The least-squares solution [intercept, weights] beyond float64.

    Normal equations in float64, then twice corrected by residuals in extended precision (64 bits of
    mantissa): each correction gains ten digits on such data.
    """
    import numpy as np

    from benchmarks.peers.reading import blocks

    x, y = (np.concatenate(part) for part in zip(*blocks(folder), strict=True))
    a = np.column_stack([np.ones(len(x), np.float32), x])
    gram = sum(part.T.astype(float) @ part for part in np.array_split(a, 1 + len(a) // 65_536))
    solution = np.zeros(a.shape[1], np.longdouble)
    for _ in range(3):
        gradient = np.zeros_like(solution)
        for part, target in zip(*(np.array_split(v, 1 + len(a) // 65_536) for v in (a, y))):  # noqa: B905
            wide = part.astype(np.longdouble)
            gradient += wide.T @ (target - wide @ solution)
        solution += np.linalg.solve(gram, gradient.astype(float))
    return [float(value) for value in solution]


def solution(folder: Path) -> list[float]:
    """The exact solution stored with a table."""
    return json.loads((folder / "exact.json").read_text())


if __name__ == "__main__":
    write(*map(int, sys.argv[1:4]), Path(sys.argv[4]))
