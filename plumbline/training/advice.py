"""Advice about unusual data, and about a model that is far from the optimum."""

from collections.abc import Iterator
from dataclasses import replace

from plumbline.config.schema import Config
from plumbline.config.training import Training
from plumbline.data.encoding import spelling_of
from plumbline.errors import listed
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import Factor
from plumbline.linear.least_squares import LeastSquares, format_combination, least_squares
from plumbline.linear.problem import best_momentum, best_rate
from plumbline.training.importance import features_of_columns
from plumbline.training.plan import Plan, epochs_needed, optimum_of
from plumbline.training.trained import Status, Trained

# A gap up to this share of the optimum's mean squared error makes its root 1 % larger: next to that
# noise it does not show. If the features determine the target (all but this share of its variance,
# which rounding may leave), the gap is held against the variance instead: R² 0.999 or more.
OF_OPTIMUM, ROUNDING, OF_VARIANCE = 0.02, 1e-10, 1e-3
MOST_MOMENTUM = 0.999  # more takes tens of thousands of epochs, and seconds to count them
EXACT = 1e-12  # largest 1 - R² of an exact fit: R² is 1 to every digit that is shown
MOST_COLUMNS = 25  # that are named as collinear, a line each
MOST_VALUES = 20  # of a number that may be a name


def data_notes(data: Dataset, config: Config) -> Iterator[str]:
    """Yield a line for each unusual property of the data: a share without rows, columns that say
    nothing or everything about the target, too few rows, and for linear models columns that others
    determine."""
    yield from _empty_shares(data)
    best = optimum_of(data.summary, config.training.bias)
    constants = _constants(data, best)
    if config.data.kind == "table":
        may_be_names = config.data.target_type == "auto" and config.training.loss != "poisson"
        if may_be_names and (values := few_values(data)) > 1:
            yield (
                f"the target '{data.target}' is trained as a number and has only {values} values, "
                "all whole: data.target_type: class trains them as classes, number silences this"
            )
        if constants:
            named = listed(f"{name} ({value})" for name, value in constants.items())
            yield f"columns that tell nothing, being constant in the training rows: {named}"
        yield from _spellings(data)
        yield from _leaks(data, config.training.bias)
    if best.rows <= len(best.names):
        few = f"{best.rows:g} training rows for {len(best.names)} features"
        yield f"{few}: many models fit them alike"
    if config.model.kind != "linear":  # collinear columns do not harm a net
        return
    if surplus := [name for name, equals in best.equals.items() if equals is None]:
        ridge = "" if config.training.penalty else "; training.penalty.kind: ridge uses them all"
        yield (
            f"{len(surplus)} features, from {surplus[0]} on, are left out of the exact fit: those "
            f"before them fit every row{ridge}"
        )
    others = {n: e for n, e in best.equals.items() if e is not None and n not in constants}
    for name, equals in list(others.items())[:MOST_COLUMNS]:
        yield f"left out of the exact fit: {format_combination(name, equals)}"
    if len(others) > MOST_COLUMNS:
        yield f"{len(others) - MOST_COLUMNS} more columns are left out: see coefficients.json"


def _empty_shares(data: Dataset) -> Iterator[str]:
    """The shares that are to be held out, but got no row."""
    for share, factor in (("test", data.summary.test), ("validation", data.summary.validation)):
        asked = getattr(data.split, f"{share}_fraction")
        if not asked or factor.rows:
            continue
        if asked == "cut":
            yield "no row is held out for testing: all are before data.split.cut"
        else:
            yield (
                f"no row is held out by data.{share}_fraction: {asked:g}, which draws rows or "
                "groups at random: raise it or change data.seed"
            )


def few_values(data: Dataset) -> int:
    """How many values a target of numbers has if they may be names: at most 20 whole numbers, each
    in more than ten of the sample's rows on average; otherwise 0."""
    target = data.summary.sample.rows[:, -1]
    values = target.unique()
    few = len(values) <= MOST_VALUES and len(target) > 10 * len(values)
    whole = bool((values == values.round()).all())
    return len(values) if few and whole and not data.encoding.classes else 0


def _spellings(data: Dataset) -> Iterator[str]:
    """The levels that differ only in how they are written: 2 in one file and 2.0 in another."""
    for column, levels in data.encoding.levels.items():
        written = {level: spelling_of(level) for level in levels}
        for level, plain in written.items():
            if level != plain and plain in written:
                yield f"levels of '{column}' that may be one, spelt differently: {plain}, {level}"


def _constants(data: Dataset, best: LeastSquares) -> dict[str, str]:
    """The columns that have one value in all rows to train on, and which; of a level that only
    other rows have, the indicator."""
    levels = {c: found[0] for c, found in data.encoding.levels.items() if len(found) == 1}
    known = {n: equals for n, equals in best.equals.items() if equals is not None}
    numbers = {n: equals for n, equals in known.items() if not equals.keys() - {"intercept"}}
    return {n: f"{e.get('intercept', 0):.6g}" for n, e in numbers.items()} | levels


def _leaks(data: Dataset, bias: bool) -> Iterator[str]:
    """Whether features determine the target, or the first class after the reference."""
    what, factor, best = "the target", data.summary.train, optimum_of(data.summary, bias)
    if data.encoding.classes:
        what = f"class '{data.encoding.classes[1]}' of the target"
        factor = data.profiled.train.select((*data.encoding.features, data.outputs[1]))
        best = least_squares(factor, bias)
    if found := {*leaks(factor, best)}:
        of = features_of_columns(data.encoding)
        columns = listed(name for name, features in of.items() if not found.isdisjoint(features))
        yield (
            f"{what} is determined exactly (R² = 1 to 12 digits) by {columns}: "
            "a leak? data.exclude leaves columns out"
        )


def leaks(factor: Factor, best: LeastSquares) -> tuple[str, ...]:
    """The features that determine the target exactly: the first that does so alone, or all needed.

    Empty if there are none, if the target is constant, or if there are too few rows to tell.

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


def largest_gap(plan: Plan) -> float:
    """The largest optimality gap at which a model counts as trained, in the target's units squared.

    2 % of the optimum's mean squared error; 0.1 % of the target's variance if that is 0.
    """
    target = plan.problem.target[1:] if plan.problem.bias else plan.problem.target
    variance = float(target.square().sum()) / plan.problem.rows
    best = plan.optimum.mse
    return OF_OPTIMUM * best if best > ROUNDING * variance else OF_VARIANCE * variance


def is_far(trained: Trained, training: Training, gap: float) -> bool:
    """Whether a model is materially worse than the optimum that its training approaches.

    Never if that is not the least-squares optimum, or a stop rule ended the training.
    """
    if not training.compressible or trained.status is Status.STOPPED:
        return False
    if training.weight_decay or training.penalty:
        return False
    return trained.exact is not None and gap > largest_gap(trained.exact) > 0


def what_helps(trained: Trained, training: Training, gap: float) -> str:
    """One line for a model that is far from its optimum, each remedy as a key and its value."""
    plan, best = trained.plan, trained.plan.optimum.mse
    ways = ["training.optimizer=exact", *_by_momentum(plan, training)]
    needed = epochs_needed(plan, training, largest_gap(plan))
    if needed and needed > len(trained.losses):
        ways.append(f"training.epochs={needed}")
    return (
        f"this model is far from the exact optimum: MSE {best + gap:.6g} on the training rows, "
        f"where least squares has {best:.6g}. What helps: {'; or '.join(ways)}"
    )


def _by_momentum(plan: Plan, training: Training) -> Iterator[str]:
    """The best momentum for this spectrum and the epochs it takes, if they are not too many."""
    curvature = plan.problem.curvature(plan.optimum.rank)
    momentum = best_momentum(curvature)
    if momentum > MOST_MOMENTUM:
        return
    keys = {"optimizer": "sgd", "learning_rate": "auto", "momentum": momentum}
    rate = best_rate(curvature, momentum)
    helped = training.model_copy(update=keys)
    needed = epochs_needed(replace(plan, rate=rate), helped, largest_gap(plan))
    changed = [f"training.{k}={v}" for k, v in keys.items() if getattr(training, k) != v]
    if needed and changed:
        yield f"{' '.join(changed)}, which takes {needed:,} epochs"
