"""What several tests of the core share: rows, files, and answers found another way."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from blake3 import blake3
from torch import Tensor, nn, optim

from plumbline.config.schema import Split, TableData, Training
from plumbline.data.blocks import Block
from plumbline.data.encoding import Encoding
from plumbline.data.sources import Table, open_table
from plumbline.errors import InputError
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import Factor, triangle
from plumbline.linear.summary import Summary, combine

ROOT = Path(__file__).parents[2]
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Rows:
    """Rows in memory as a source: each part (n, d + 1), features then target."""

    given: dict[str, Tensor]
    step: int = 7

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.given)

    @property
    def names(self) -> tuple[str, ...]:
        width = next(iter(self.given.values())).shape[1]
        return (*(f"x{i}" for i in range(width - 1)), "y")

    def blocks(self, part: str) -> Iterator[Block]:
        rows = self.given[part]
        for first in range(0, len(rows), self.step):
            some = rows[first : first + self.step]
            ones = torch.ones(len(some), 1, dtype=torch.float64)
            yield Block(self.names, torch.cat([ones, some], dim=1).mT.contiguous(), part, first)

    def digest(self, part: str) -> str:
        return blake3(self.given[part].contiguous().numpy().tobytes()).hexdigest()


class Recording(Table):
    """A table that writes down which files are opened."""

    opened: ClassVar[Counter[str]] = Counter()

    def blocks(self, part: str, *others: Any) -> Iterator[Block]:
        self.opened[Path(part).stem] += 1
        return super().blocks(part, *others)


def recording(data: Dataset) -> Dataset:
    """The same data set, whose files are counted as they are opened."""
    known = {each.name: getattr(data.source, each.name) for each in fields(data.table)}
    return replace(data, source=Recording(**known))


def random_rows(n: int, d: int, seed: int = 0, far: float = 0.0) -> Tensor:
    """(n, d + 1) float64: features about `far`, then a target that depends on them with noise."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=random, dtype=torch.float64) + far
    weights = torch.linspace(-1, 2, d, dtype=torch.float64)
    noise = torch.randn(n, generator=random, dtype=torch.float64)
    return torch.cat([x, (x @ weights + 3 + 0.3 * noise)[:, None]], dim=1)


def compressed(rows: Tensor, split: Split | None = None, **keeping: int) -> Summary:
    """What one pass over the rows keeps."""
    return combine([compress(Rows({"rows": rows}), "rows", split or Split(), **keeping)])


def dataset(source: Rows | Table, split: Split, device: str = "cpu") -> Dataset:
    """What training takes: the rows of a source and a pass over them."""
    found = combine(compress(source, part, split, device) for part in source.parts)
    return Dataset(found, found, Encoding(found.columns[:-1], {}), source, {}, split=split)


def same_bits(one: Summary, two: Summary) -> bool:
    """Whether two summaries are the same to the last bit."""
    return (
        all(torch.equal(one.factors[n].r, two.factors[n].r) for n in one.factors | two.factors)
        and torch.equal(one.sample.rows, two.sample.rows)
        and (one.digests, one.dropped, one.columns) == (two.digests, two.dropped, two.columns)
    )


def factor_of(rows: Tensor) -> Factor:
    """One QR of all the rows at once, unshifted: what any pass must agree with."""
    names = (*(f"x{i}" for i in range(rows.shape[1] - 1)), "y")
    if not len(rows):
        return Factor.empty(names)
    ones = torch.ones(len(rows), 1, dtype=torch.float64)
    r = triangle(torch.cat([ones, rows], dim=1))
    return Factor(names, r, len(rows), torch.zeros(len(names), dtype=torch.float64))


def exact_fit(rows: Tensor, bias: bool = True) -> tuple[list[Fraction], Fraction]:
    """(coefficients, residual sum of squares) in rational numbers, intercept first: no rounding."""
    data = [[Fraction(v) for v in row] for row in rows.tolist()]
    matrix = [([Fraction(1)] if bias else []) + row[:-1] for row in data]
    target = [row[-1] for row in data]
    p = len(matrix[0])
    normal = [
        [sum(a[i] * a[j] for a in matrix) for j in range(p)]
        + [sum(a[i] * y for a, y in zip(matrix, target, strict=True))]
        for i in range(p)
    ]
    for i in range(p):
        pivot = next(k for k in range(i, p) if normal[k][i])
        normal[i], normal[pivot] = normal[pivot], normal[i]
        for k in range(p):
            if k != i:
                ratio = normal[k][i] / normal[i][i]
                normal[k] = [a - ratio * b for a, b in zip(normal[k], normal[i], strict=True)]
    solution = [normal[i][-1] / normal[i][i] for i in range(p)]
    residuals = (
        y - sum(a * b for a, b in zip(row, solution, strict=True))
        for row, y in zip(matrix, target, strict=True)
    )
    return solution, sum((r * r for r in residuals), Fraction(0))


def plain_loop(rows: Tensor, training: Training, rate: float | None = None) -> list[float]:
    """The losses of the loop that everybody writes, on the rows themselves."""
    dtype = getattr(torch, training.dtype)
    x, y = rows[:, :-1], rows[:, -1:].to(dtype)
    if training.standardize:
        mean = x.mean(dim=0) if training.bias else 0.0
        x = (x - mean) / (x - mean).square().mean(dim=0).sqrt()
    x = x.to(dtype)
    torch.manual_seed(training.seed)
    model = nn.Linear(x.shape[1], 1, bias=training.bias, dtype=dtype)
    groups = [{"params": [model.weight], "weight_decay": training.weight_decay}]
    if training.bias:
        groups.append({"params": [model.bias], "weight_decay": 0.0})
    kinds = {
        "sgd": lambda: optim.SGD(groups, lr=rate, momentum=training.momentum),
        "adam": lambda: optim.Adam(groups, lr=rate),
        "adamw": lambda: optim.AdamW(groups, lr=rate),
        "rmsprop": lambda: optim.RMSprop(groups, lr=rate, momentum=training.momentum),
    }
    rate = rate or training.learning_rate
    optimizer, criterion, losses = kinds[training.optimizer](), nn.MSELoss(), []
    for _ in range(training.epochs):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def write(path: Path, columns: dict[str, Sequence | pa.Array], **options: int) -> Path:
    """A CSV or Parquet file, as the name ends; None is a missing value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path, **options)
        return path
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def opened(path: Path | str, **data: object) -> Table:
    """The table at a path, with the keys of the data section that are given."""
    return open_table(TableData(kind="table", path=str(path), **{"target": "y", **data}))


def read(path: Path | str, split: Split | None = None, **data: object) -> Summary:
    """One pass over every file at a path, merged."""
    source = opened(path, **data)
    return combine(compress(source, part, split or Split()) for part in source.parts)


def refusal(path: Path | str, **data: object) -> str:
    """The message with which the files at a path are refused."""
    with pytest.raises(InputError) as caught:
        read(path, **data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rows_of(table: Table) -> Tensor:
    """All rows of a table in order: (n, d + 1), features then target."""
    blocks = [b.rows[1:].mT.clone() for part in table.parts for b in table.blocks(part)]
    return torch.cat(blocks)
