"""Pictures are drawn by a process beside the body."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from tasks.pictures.classes import calibration, roc
from tasks.pictures.run import _loss, trials
from tasks.pictures.shown import draw_beside
from tasks.pictures.style import figure_of

WHAT = {
    "epochs": [1, 2, 3, 4], "losses": [8.0, 2.0, 1.0, 0.5],
    "validation_losses": [9.0, 3.0, 2.0, 2.5], "best": [3, 2.0],
    "optimum": None, "unconverged": "", "target": "y", "subset": "3 held-out rows",
    "actual": [1.0, 2.0, 4.0], "predicted": [1.5, 2.0, 3.0], "fit": None,
    "importance": None, "coefficients": None, "path": None, "drift": None,
}  # fmt: skip


def children() -> set[str]:
    """The processes that this one started and has not waited for."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_the_process_that_draws_is_gone_if_the_body_fails(tmp_path: Path) -> None:
    before, beside = children(), set()

    def fail() -> None:
        with draw_beside("run", {}, tmp_path):
            beside.update(children() - before)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(beside) == 1
    assert not beside & children()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    def draw() -> None:
        with draw_beside("run", {}, tmp_path):
            pass

    with pytest.raises(RuntimeError, match=r"(?s)could not be drawn.*KeyError"):
        draw()


def loss_axes(**what: object):
    """The axes of a picture of the loss."""
    epochs = list(range(1, len(what["losses"]) + 1))
    figure = figure_of(lambda axes: _loss(axes, what | {"epochs": epochs}))
    return figure.axes[0]


def words(axes) -> list[str]:
    return [each.get_text() for each in (*axes.get_legend().get_texts(), *axes.texts)]


def test_both_losses_are_drawn_and_the_kept_epoch_is_marked() -> None:
    axes = loss_axes(**WHAT)
    assert words(axes) == ["training loss", "validation loss", "kept: epoch 3"]
    assert [list(line.get_ydata()) for line in axes.lines] == [
        WHAT["losses"], WHAT["validation_losses"]
    ]  # fmt: skip
    assert axes.collections[0].get_offsets().tolist() == [[3.0, 2.0]]
    assert axes.get_title() == "Loss"


@pytest.mark.parametrize("least", [0.0, 1e-33])
def test_one_point_of_rounding_does_not_stretch_the_axis_and_the_picture_says_so(least) -> None:
    line = WHAT | {"losses": [30.0, 1e-3, least], "validation_losses": [], "optimum": 1e-33}
    axes = loss_axes(**line | {"best": None})
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] == pytest.approx(30 * 2.2e-16, rel=0.02)
    assert "cut at 2e-16 of the first loss" in words(axes)[-1]
    assert words(axes)[0] == "training loss"


def test_losses_that_may_be_below_zero_or_differ_little_have_a_linear_axis() -> None:
    for losses in ([3.0, -1.0, -2.0], [3.0, 2.0, 1.0]):
        line = WHAT | {"losses": losses, "validation_losses": []}
        axes = loss_axes(**line | {"best": None})
        assert axes.get_yscale() == "linear"
        assert axes.get_ylim()[0] < losses[-1]


def test_a_model_that_is_far_from_its_optimum_is_marked() -> None:
    line = WHAT | {
        "validation_losses": [],
        "optimum": 0.01,
        "unconverged": "far from the exact optimum",
    }
    axes = loss_axes(**line | {"best": None})
    assert axes.get_title() == "Loss (far from the exact optimum)"
    assert words(axes) == ["training loss", "exact optimum 0.01"]


@pytest.mark.parametrize("features", [1, 2])
def test_a_net_has_the_pictures_of_a_line(tmp_path: Path, features: int) -> None:
    curve = {"along": [0.0, 1.0, 2.0], "height": [0.0, 1.0, 0.0], "label": "the model"}
    fit = {"name": "x", "x": [0.0, 1.0, 2.0], **curve} if features == 1 else None
    columns = {f"{n} $ of $^": {"mean": 40.0 - n, "std": 1.0} for n in range(40)}
    found = {"metric": "test_rmse", "score": 1, "rows": 9, "repeats": 5, "columns": columns}
    with draw_beside("run", WHAT | {"fit": fit, "importance": found}, tmp_path):
        pass
    drawn = {path.stem for path in tmp_path.iterdir()}
    assert drawn == {"loss", "fit", "residuals", "importance"}


@pytest.mark.parametrize("folds", [0, 3])
def test_a_line_has_pictures_of_its_coefficients_and_of_its_penalty_s_path(
    tmp_path: Path, folds: int
) -> None:
    names, errors = [f"x{n}" for n in range(40)], [1.0, 2.0] if folds else []
    path = {
        "kind": "lasso", "names": names, "strengths": [10.0, 0.1], "chosen": 1, "folds": folds,
        "weights": [[0.0] * 40, [float(n) for n in range(40)]],
        "mean_errors": errors, "standard_errors": errors,
    }  # fmt: skip
    rows = [(name, float(n), 0.5, n / 2) for n, name in enumerate(names)]
    words = {"left_out": 2, "degrees_of_freedom": 9.5, "title": "Coefficients", "xlabel": "change"}
    with draw_beside(
        "run", WHAT | {"path": path, "coefficients": {"rows": rows, **words}}, tmp_path
    ):
        pass
    drawn = {path.stem for path in tmp_path.iterdir()}
    assert drawn == {"loss", "fit", "residuals", "coefficients", "penalty"}


@pytest.mark.parametrize("edges", [(), (1.0, 2.0)])
def test_drift_has_pictures_of_means_of_shares_and_of_predictions(
    tmp_path: Path, edges: tuple[float, ...]
) -> None:
    predicted = {"then": {"0": 0.5, "2": 0.5}, "now": {"1": 1.0}, "edges": edges, "index": 9.0}
    found = {
        "shifts": [(f"x{n}", n - 20.0) for n in range(40)],
        "shares": [(f"city={n}", 0.1, n / 100) for n in range(40)],
        "stability": {"city": 0.3, "x1": 0.0},
        "predictions": predicted,
    }
    with draw_beside("run", WHAT | {"drift": found}, tmp_path):
        pass
    drawn = {path.stem for path in tmp_path.iterdir()}
    of_drift = {"drift", "drift_shares", "drift_predictions"}
    assert drawn == {"loss", "fit", "residuals"} | of_drift


@pytest.mark.parametrize("names", [("no", "yes"), ("a", "b", "c"), tuple(map(str, range(30)))])
def test_classes_have_pictures_of_their_own(tmp_path: Path, names: tuple[str, ...]) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(len(names)), 60)
    points = {"classes": names, "observed": [0, 1] * 30, "probabilities": p.tolist()}
    with draw_beside("run", WHAT | points, tmp_path):
        pass
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"loss.png", "confusion.png", "roc.png", "calibration.png"}


def test_the_curve_is_scikit_learns_and_calibration_is_of_tenths() -> None:
    random = np.random.default_rng(1)
    p = random.random(200).round(2)  # with ties
    is_class = random.random(200) < p
    others, of_class = roc(p, is_class)
    assert np.trapezoid(of_class, others) == pytest.approx(metrics.roc_auc_score(is_class, p))
    predicted, share = calibration(p, is_class)
    first = p < 0.1
    assert predicted[0] == pytest.approx(p[first].mean())
    assert share[0] == pytest.approx(is_class[first].mean())


def test_the_trials_of_each_optimizer_have_a_colour_in_the_picture_of_the_rate() -> None:
    values = {
        "training.learning_rate": [0.1, 0.2, 0.3],
        "training.optimizer": ["sgd", "adam", "sgd"],
    }
    what = {"metric": "test_rmse", "reached": [3.0, 1.0, 2.0], "best": 1, "values": values}
    figure = figure_of(lambda axes: trials(axes, "training.learning_rate", what))
    drawn = {c.get_label(): c.get_offsets().tolist() for c in figure.axes[0].collections}
    assert drawn == {
        "optimizer sgd": [[0.1, 3.0], [0.3, 2.0]],
        "optimizer adam": [[0.2, 1.0]],
        "best trial": [[0.2, 1.0]],
    }
