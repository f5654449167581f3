"""Which columns are linear combinations of those before them, and of which ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plumbline.linear.factor import EPS

MOST_TERMS = 6  # that a line shows


@dataclass(frozen=True)
class Dependence:
    """A column that those kept before it determine: about their means it is terms · columns.

    Attributes:
        place: of the column among all d.
        terms: (d,) coefficients; 0 for columns that are not kept or come later.
        unsure: (d,) how far off each may be.
    """

    place: int
    terms: Tensor
    unsure: Tensor

    def equals(self, names: Sequence[str], means: Tensor, noise: Tensor) -> dict[str, float]:
        """The combination in raw units, rounded to what is certain; what may be 0 is left out.

        Args:
            names: of the d columns.
            means: (d,); 0 without an intercept, and then there is no constant.
            noise: (d,) how far off they may be.
        """
        certain = torch.tensor(
            list(map(_certain, self.terms.tolist(), self.unsure.tolist())), dtype=torch.float64
        )
        constant = float(means[self.place] - certain @ means)
        off = (certain - self.terms).abs() @ means.abs() + certain.abs() @ noise + noise[self.place]
        found = dict(zip(names, certain.tolist(), strict=True))
        found["intercept"] = _certain(constant, float(off))
        return {name: value for name, value in found.items() if value}


def dependences(system: Tensor, noise: Tensor) -> list[Dependence]:
    """Judge the columns from left to right; those that are not named here are kept.

    What a column leaves beside its combination of the kept ones is real if it is longer than the
    rounding of all the columns in that combination. In columns divided by their rounding this reads
    ‖column j of R⁻¹‖ < 1. It bounds the smallest singular value, as no diagonal of R alone does: a
    combination with large coefficients has large rounding.

    Args:
        system: (d, d), upper triangular.
        noise: (d,) lengths that may be rounding: Factor.rounding.
    """
    d = len(noise)
    unit = system / noise.where(noise > 0, 1.0)
    identity = torch.eye(d, dtype=torch.float64)
    inverse = torch.linalg.solve_triangular(unit, identity, upper=True)
    if bool((inverse.norm(dim=0) < 1).all()):  # False for NaN, too
        return []
    basis, inverse, found = torch.zeros_like(unit), torch.zeros_like(unit), []
    kept: list[int] = []
    for j in range(d):
        k = len(kept)
        q, known, rest, along = basis[:, :k], inverse[:k, :k], unit[:, j], torch.zeros(k).double()
        for _ in range(2):  # Gram-Schmidt, and once more for what rounding left
            step = q.mT @ rest
            rest, along = rest - q @ step, along + step
        terms, left = known @ along, rest.norm()
        reach = (1 + terms.square().sum()).sqrt()
        if left > reach:
            basis[:, k], inverse[:k, k], inverse[k, k] = rest / left, -terms / left, 1 / left
            kept.append(j)
            continue
        both = torch.zeros(2, d, dtype=torch.float64)
        both[:, kept] = torch.stack([terms, known.norm(dim=1) * reach]) * noise[j] / noise[kept]
        found.append(Dependence(j, *both))
    return found


def written(name: str, equals: Mapping[str, float]) -> str:
    """The combination as people write it: sched_dep_time = 100·hour + minute."""
    text = ""
    terms = list(equals.items())
    if len(terms) > MOST_TERMS:  # the constant is not among those that are cut off
        terms.sort(key=lambda term: term[0] != "intercept")
    for column, value in terms[:MOST_TERMS]:
        size = f"{abs(value):.10g}"
        size = size if column == "intercept" else column if size == "1" else f"{size}·{column}"
        sign = "-" if value < 0 else "+"
        text += f" {sign} {size}" if text else f"{sign.strip('+')}{size}"
    more = f" + ... ({len(equals)} terms in all)" if len(equals) > MOST_TERMS else ""
    return f"{name} = {text or '0'}{more}"


def _certain(value: float, unsure: float) -> float:
    """The value rounded to its certain decimal digits; 0 if it may be 0."""
    unsure = max(unsure, EPS * abs(value))
    certain = unsure < abs(value) < math.inf  # False for NaN, of data beyond float64
    return round(value, -math.ceil(math.log10(unsure))) if certain else 0.0
