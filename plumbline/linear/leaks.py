"""Features that give the target away, from the R factor alone."""

from plumbline.linear.factor import Factor
from plumbline.linear.least_squares import LeastSquares

EXACT = 1e-12  # of 1 - R²: every digit that R² is shown with


def leaks(factor: Factor, best: LeastSquares) -> tuple[str, ...]:
    """The features that determine the target exactly: one that does so alone, or all that do.

    Empty if none do, if the target is constant, or if there are too few rows to tell.

    Args:
        factor: of the training rows.
        best: their exact fit.
    """
    columns, target = factor.r[1:, 1:-1], factor.r[1:, -1]
    total = target.square().sum()
    if best.rows <= best.rank or not total or best.rss > EXACT * float(total):
        return ()
    squares = columns.square().sum(dim=0)
    alone = columns * (target @ columns / squares)  # NaN for a constant column
    rest = (target[:, None] - alone).square().sum(dim=0)
    if (single := rest <= EXACT * total).any():
        return (best.names[int(single.int().argmax())],)
    effect = best.weights.abs() * squares.sqrt()
    needed = (effect > EXACT**0.5 * total.sqrt()).tolist()
    return tuple(name for name, each in zip(best.names, needed, strict=True) if each)
