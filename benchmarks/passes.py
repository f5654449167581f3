"""The pass with and without each kind of column, key and file: processor time, in turn in one
process.

`python -m benchmarks.passes FOLDER ROUNDS` prints the seconds of each as one line of JSON.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import DATA, fresh_scratch, median, ratio, run
from benchmarks.report import Table

PLAIN, PLAIN_CSV = "20 numbers, Parquet", "20 numbers, CSV"
NUMBERS = [f"x{i}" for i in range(20)]
BY_TIME = {"split": {"by": "time", "column": "when", "cut": "2024-06-01"}, "test_fraction": 0.0}
KEYS: dict[str, dict] = {
    PLAIN: {},
    "missing: impute, no hole": {"missing": "impute"},
    "missing: impute, holes in 3 columns": {"missing": "impute", "holes": 3},
    "missing: impute, holes in all 20": {"missing": "impute", "holes": 20},
    "text of 20 levels beside": {"more": ["few"]},
    "text of 10,000 levels, 100 and (other)": {"more": ["many"], "categorical": ["many"]},
    "a timestamp beside": {"more": ["when"]},
    "a date as text beside": {"more": ["day"]},
    "log_target": {"log_target": True},
    "weight": {"weight": "w"},
    "split by rows": {"test_fraction": 0.2},
    "split by group": {"split": {"by": "group", "column": "many"}, "test_fraction": 0.2},
    "split by time": BY_TIME,
}
FILES = {
    PLAIN_CSV: "rows.csv",
    "semicolon and decimal commas": "comma.csv",
    "Latin-1": "latin.csv",
    ".csv.gz": "rows.csv.gz",
    ".csv.zst": "rows.csv.zst",
    "Feather (LZ4)": "rows.feather",
    "Parquet": "rows.parquet",
}


def measure(rows: int, rounds: int) -> list[Table]:
    """Two tables: columns and keys compared with plain Parquet, files compared with plain CSV."""
    fresh_scratch()
    folder = DATA / "tables" / f"passes{rows}"
    if not (folder / "rows.parquet").exists():
        run("-m", "benchmarks.passes", folder, 0, rows)
    spent = run("-m", "benchmarks.passes", folder, rounds).said
    note = f"{rows:,} rows; processor seconds, medians of {rounds} rounds in turn in one process."
    return [
        compared("The pass with and without", PLAIN, [*KEYS], spent, note),
        compared("The pass over one file of each kind", PLAIN_CSV, [*FILES], spent, note),
    ]


def compared(title: str, plain: str, names: list[str], spent: dict, note: str) -> Table:
    """Each compared with the plain one."""
    against = {name: str(ratio(spent[name], spent[plain])) for name in names} | {plain: ""}
    lines = [[name, f"{median(spent[name]):.2f}", against[name]] for name in names]
    return Table(title, ("what", "s", f"against {plain}"), lines, note)


def configs(folder: Path) -> Iterator[tuple[str, dict]]:
    """The `data` section of each pass, by name."""
    told = {"kind": "table", "target": "y"}
    for name, keys in KEYS.items():
        holes, more = keys.get("holes", 0), keys.get("more", [])
        features = [*(f"hole{i}" for i in range(holes)), *NUMBERS[holes:], *more]
        rest = {key: value for key, value in keys.items() if key not in ("holes", "more")}
        yield name, told | {"path": str(folder / "rows.parquet"), "features": features} | rest
    for name, file in FILES.items():
        more = {"encoding": "latin-1"} if file.startswith("latin") else {}
        yield name, told | {"path": str(folder / file), "features": NUMBERS} | more


def passes(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each pass in each round, after one that does not count."""
    from plumbline.config.schema import TableData
    from plumbline.library import read

    spent: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, section in configs(folder):
            began = time.process_time()
            read(TableData(**section), "cpu")
            if number:
                spent.setdefault(name, []).append(time.process_time() - began)
    return spent


def write(folder: Path, rows: int) -> None:
    """Write the same rows in every format; a tenth of the values of hole0, ... are missing."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(rows, 20)).round(6), columns=NUMBERS)
    frame["y"] = np.exp(0.1 * frame.sum(axis=1) + 0.1 * random.normal(size=rows)).round(6)
    plain = frame.copy()
    for number in range(20):
        frame[f"hole{number}"] = frame[f"x{number}"].where(random.random(rows) > 0.1)
    for name, levels in (("few", 20), ("many", 10_000)):
        frame[name] = np.char.add("level ", random.integers(levels, size=rows).astype(str))
    minutes = pd.to_timedelta(random.integers(525_600, size=rows), "min")
    frame["when"] = pd.Timestamp("2024-01-01") + minutes
    frame["day"] = frame["when"].dt.strftime("%Y-%m-%dT%H:%M")
    frame["w"] = random.random(rows)
    frame.to_parquet(folder / "rows.parquet")
    plain.to_feather(folder / "rows.feather")
    for name in ("rows.csv", "rows.csv.gz", "rows.csv.zst", "latin.csv"):
        with pa.output_stream(folder / name) as stream:  # compressed by the name
            plain.to_csv(stream, index=False)
    plain.to_csv(folder / "comma.csv", index=False, sep=";", decimal=",")


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), int(sys.argv[2])
    if number:
        print(json.dumps(passes(place, number)))
    else:
        write(place, int(sys.argv[3]))
