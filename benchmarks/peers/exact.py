"""Exact solvers beyond least squares: `python -m benchmarks.peers.exact METHOD FOLDER`.

Each prints one line of JSON: the wall-clock and processor seconds of its work without imports, and
its distance from the exact solution.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peers.reading import everything, paths

STRENGTHS, FOLDS = 100, 10


def write(folder: Path) -> dict:
    """Write the same features with other targets: whether y is above its mean, and a count."""
    for path in paths(folder):
        table = pq.read_table(path)
        y = table["y"].to_numpy()
        counts = np.random.default_rng(len(path.name)).poisson(np.exp(y / 6))
        for name, target in {"classes": y > 3, "counts": counts}.items():
            other = folder.with_name(f"{folder.name}-{name}")
            other.mkdir(exist_ok=True)
            column = pa.array(target.astype(np.int32))
            pq.write_table(table.set_column(table.num_columns - 1, "y", column), other / path.name)
    return {}


def ours(folder: Path, training: dict, **data: object) -> "Model":  # noqa: F821  imported late
    """Train on a folder with `plumbline.train`."""
    import plumbline
    from plumbline.config.loading import validated

    given = {"kind": "table", "path": str(folder), "target": "y", **data}
    raw = {"experiment": "exact", "data": given, "training": {"device": "cpu", **training}}
    return plumbline.train(validated(raw, "exact"))


def plumbline_path(folder: Path) -> dict:
    """A lasso path and its best strength by cross-validation, from known R factors."""
    import sklearn.linear_model  # noqa: F401  importing it is no work

    from plumbline.config.training import Penalty
    from plumbline.linear.penalty import fit_with_penalty

    model, penalty = ours(folder, {"optimizer": "exact"}, folds=FOLDS), Penalty(kind="lasso")
    plan, data = model.trained.exact, model.data.summary
    fit, spent = timed(lambda: fit_with_penalty(data, penalty, True, plan.standardizer))
    weights = (fit.weights * plan.standardizer.scale).numpy()
    return spent | {"error": lasso_error(*standardised(folder), weights, fit.path.strength)}


def sklearn_path(folder: Path) -> dict:
    """LassoCV on rows in memory, standardised already."""
    from sklearn.linear_model import LassoCV

    x, y = standardised(folder)
    fit, spent = timed(lambda: LassoCV(alphas=STRENGTHS, cv=FOLDS).fit(x, y))
    return spent | {"error": lasso_error(x, y, fit.coef_, fit.alpha_)}


def glum_path(folder: Path) -> dict:
    """The same of glum."""
    from glum import GeneralizedLinearRegressorCV

    x, y = standardised(folder)
    model = GeneralizedLinearRegressorCV(l1_ratio=1, n_alphas=STRENGTHS, cv=FOLDS)
    fit, spent = timed(lambda: model.fit(x, y))
    return spent | {"error": lasso_error(x, y, fit.coef_, fit.alpha_)}


def plumbline_newton(folder: Path) -> dict:
    """Newton's method: one pass, and another for each step."""
    import plumbline.library  # noqa: F401  importing it is no work

    classes = folder.name.endswith("classes")
    loss, kind = ("auto", "class") if classes else ("poisson", "number")
    training = {"optimizer": "newton", "loss": loss}
    model, spent = timed(lambda: ours(folder, training, target_type=kind))
    return spent | {"error": newton_error(folder, model.trained.likelihood.parameters[0].numpy())}


def sklearn_newton(folder: Path) -> dict:
    """scikit-learn's Newton solver, to a tolerance that is as exact as ours."""
    return _sklearn(folder, solver="newton-cholesky", tol=1e-10)


def sklearn_lbfgs(folder: Path) -> dict:
    """scikit-learn's default solver and tolerance."""
    return _sklearn(folder)


def _sklearn(folder: Path, **solver: object) -> dict:
    from sklearn.linear_model import LogisticRegression, PoissonRegressor

    if folder.name.endswith("classes"):
        model = LogisticRegression(C=np.inf, **solver)
    else:
        model = PoissonRegressor(alpha=0, **solver)
    return _fitted(folder, model.fit)


def statsmodels_glm(folder: Path) -> dict:
    """statsmodels' GLM: iteratively reweighted least squares, with standard errors."""
    import statsmodels.api as sm

    family = sm.families.Binomial() if folder.name.endswith("classes") else sm.families.Poisson()
    return _fitted(
        folder, lambda x, y: sm.GLM(y, sm.add_constant(x), family=family).fit(tol=1e-12), "params"
    )


def glum_glm(folder: Path) -> dict:
    """glum's default solver without a penalty, to a tolerance that is as exact as ours."""
    from glum import GeneralizedLinearRegressor

    family = "binomial" if folder.name.endswith("classes") else "poisson"
    model = GeneralizedLinearRegressor(alpha=0, family=family, gradient_tol=1e-10)
    return _fitted(folder, model.fit)


def _fitted(folder: Path, fit: Callable, parameters: str = "") -> dict:
    def work() -> object:
        x, y = everything(folder)
        return fit(x.astype(float), y.astype(float))

    fit, spent = timed(work)
    found = [*np.ravel(fit.intercept_), *np.ravel(fit.coef_)] if not parameters else fit.params
    return spent | {"error": newton_error(folder, np.array(found))}


def plumbline_head(folder: Path) -> dict:
    """The last layer of a net: ridge by ten folds."""
    from plumbline.training.head import solve_head

    net, objective = net_and_rows(folder)
    _, spent = timed(lambda: solve_head(net, [net[-1]], objective))
    return spent | {"error": objective.validation_loss(net)}


def sklearn_head(folder: Path) -> dict:
    """RidgeCV, leave-one-out, on the inputs of the last layer."""
    import torch
    from sklearn.linear_model import RidgeCV

    net, objective = net_and_rows(folder)

    def given(share: str) -> tuple[np.ndarray, np.ndarray]:
        features, target = next(objective.rows.blocks(share))
        with torch.no_grad():
            return net[:-1](features).double().numpy(), target[:, 0].double().numpy()

    model = RidgeCV(alphas=np.logspace(-4, 6, STRENGTHS))
    fit, spent = timed(lambda: model.fit(*given("train")))
    hidden, observed = given("validation")
    return spent | {"error": float(np.mean((observed - fit.predict(hidden)) ** 2))}


def net_and_rows(folder: Path) -> tuple["Module", "RowObjective"]:  # noqa: F821  imported late
    """256 random hidden units, a last layer, and the rows in memory."""
    import torch
    from torch import nn

    from plumbline.training.objectives import RowObjective
    from plumbline.training.rows import TrainingRows

    model = ours(folder, {"optimizer": "exact"}, validation_fraction=0.1)
    scaled, width = model.trained.exact.standardizer, len(model.data.encoding.features)
    objective = RowObjective(TrainingRows(model.data, model.config.training, scaled, "cpu"))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 1)).double()
    objective.validation_loss(net), next(objective.rows.blocks("train"))
    return net, objective


def newton_error(folder: Path, theta: np.ndarray) -> float:
    """The largest relative change that one more Newton step on all rows makes to a coefficient."""
    x, y = everything(folder)
    a, y = np.column_stack([np.ones(len(x)), x.astype(float)]), y.astype(float)
    classes = folder.name.endswith("classes")
    expected = 1 / (1 + np.exp(-a @ theta)) if classes else np.exp(a @ theta)
    curvature = expected * (1 - expected) if classes else expected
    step = np.linalg.solve(a.T @ (curvature[:, None] * a), a.T @ (y - expected))
    return float(np.abs(step / theta).max())


def lasso_error(x: np.ndarray, y: np.ndarray, weights: np.ndarray, strength: float) -> float:
    """The violation of the optimality conditions, relative to the strength."""
    slopes = x.T @ (y - x @ weights) / len(x)
    missed = np.where(
        weights != 0, np.abs(slopes - strength * np.sign(weights)), np.abs(slopes) - strength
    )
    return float(missed.max() / strength)


def standardised(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All rows, features of mean 0 and deviation 1, target of mean 0."""
    x, y = (each.astype(float) for each in everything(folder))
    return (x - x.mean(axis=0)) / x.std(axis=0), y - y.mean()


def timed(work: Callable[[], object]) -> tuple[object, dict]:
    """The result of a call, and its seconds."""
    began, used = time.perf_counter(), time.process_time()
    found = work()
    ended = time.perf_counter()
    return found, {"work": ended - began, "processor": time.process_time() - used}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
