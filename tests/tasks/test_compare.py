"""What is said to differ between runs, and what is marked as best."""

from datetime import datetime

import pandas as pd
import pytest

from plumbline.config.metrics import better
from tasks.compare.comparison import Comparison, RecordedRun, compare
from tasks.compare.text import number, shortened, tables, verdict

DATA = {"data.test_fraction": "0.2", "data.folds": "0", "data.seed": "42"}


def run(name: str = "run", status: str = "FINISHED", **given: dict) -> RecordedRun:
    """A run as it would have been read."""
    reason = "" if status == "FINISHED" else "why"
    return RecordedRun("0" * 32, name, "tests", status, reason, datetime(2026, 1, 1), **given)


def best_of(compared: Comparison, name: str = "test_rmse") -> list[int]:
    """The numbers of the runs that are marked as best in a metric."""
    marked = compared.best.loc[name]
    return list(marked[marked].index)


def row_of(frame: pd.DataFrame, name: str) -> list:
    """A row of a frame, None for what is not recorded."""
    return [None if pd.isna(value) else value for value in frame.loc[name]]


def notes(compared: Comparison) -> list[str]:
    """The differences from the first run, as shown below the first metric."""
    _, cells = list(tables(compared))[-1]
    return [cell.partition("\n")[2] for cell in cells.iloc[0]]


def scored(*scores: float | None, metric: str = "test_rmse") -> list[RecordedRun]:
    """Runs that have one metric; None: the run does not have it."""
    return [run(metrics={} if score is None else {metric: score}) for score in scores]


@pytest.mark.parametrize("name", ["test_rmse", "train_mse", "mae", "loss", "optimality_gap",
                                  "optimal_mse", "linear_cv_rmse_mean"])  # fmt: skip
def test_less_is_better_for_errors(name: str) -> None:
    assert better(name) == "lower"


@pytest.mark.parametrize("name", ["rows_new", "condition_number", "prediction_5.0",
                                  "linear_cv_rmse_std", "largest_stable_learning_rate",
                                  "epochs_run"])  # fmt: skip
def test_nothing_is_better_for_counts_predictions_and_spreads(name: str) -> None:
    assert better(name) is None
    assert best_of(compare(scored(1.0, 2.0, metric=name)), name) == []


def test_more_is_better_for_r2() -> None:
    assert better("test_r2") == "higher"
    assert best_of(compare(scored(0.5, 0.9, metric="test_r2")), "test_r2") == [2]


def test_only_parameters_that_differ_are_shown_and_missing_ones_as_such() -> None:
    runs = [
        run(params={"same": "1", "lr": "0.1", "gone": "x"}),
        run(params={"same": "1", "lr": "0.2"}),
    ]
    params = compare(runs).params
    assert list(params.index) == ["gone", "lr"]
    assert row_of(params, "lr") == ["0.1", "0.2"]
    assert row_of(params, "gone") == ["x", None]


def test_changes_are_from_the_first_run_and_unknown_where_either_is_missing() -> None:
    assert notes(compare(scored(1.0, 0.25, None, 1.5))) == ["", "-0.75", "", "+0.5"]
    assert notes(compare(scored(None, 0.25, 0.5))) == ["", "", ""]
    assert notes(compare(scored(0.5, 0.25, 0.5))) == ["", "-0.25", "±0"]


def test_all_of_the_best_are_marked_and_infinity_never_is() -> None:
    assert best_of(compare(scored(1.0, 0.5, 0.5))) == [2, 3]
    assert best_of(compare(scored(1.0, 2.0, -float("inf")))) == [1]


def test_metrics_of_one_value_are_listed_once_and_a_failed_run_need_not_have_them() -> None:
    runs = [*scored(1.0, 1.0), run(status="FAILED")]
    compared = compare(runs)
    assert compared.metrics.empty
    assert dict(compared.same) == {"test_rmse": 1.0}
    assert compared.headline is None
    assert row_of(compare(scored(1.0, None)).metrics, "test_rmse") == [1.0, None]
    assert row_of(compare([runs[0], runs[2]]).metrics, "test_rmse") == [1.0, None]


def test_rounding_is_no_difference() -> None:
    rounded = compare(scored(0.3, 0.1 + 0.2))
    assert rounded.metrics.empty
    assert list(rounded.same.index) == ["test_rmse"]
    assert list(compare(scored(0.3, 0.3 * (1 + 1e-9))).metrics.index) == ["test_rmse"]
    near_0 = ({"gain_over_linear": g, "drift_max_shift": g} for g in (-1e-14, 3e-16))
    assert compare([run(metrics=metrics) for metrics in near_0]).metrics.empty
    assert list(compare(scored(1e-15, 2e-15)).metrics.index) == ["test_rmse"]


def test_metrics_of_single_columns_are_left_out() -> None:
    drifted = {"drift_max_shift": 0.2, "drift_shift/x": 0.2}
    compared = compare([run(metrics={}), run(metrics=drifted)])
    assert list(compared.metrics.index) == ["drift_max_shift"]


def test_one_run_has_no_differences() -> None:
    compared = compare([run(params={"lr": "0.1"}, metrics={"loss": 1.0})])
    assert list(tables(compared)) == []
    assert compared.warnings == ()


def test_the_headline_is_the_first_score_that_all_finished_runs_have() -> None:
    runs = [
        run(metrics={"test_rmse": 1.0, "train_rmse": 2.0}),
        run(metrics={"test_rmse": 3.0, "train_rmse": 1.0}),
        run(metrics={"train_rmse": 4.0}),
        run(metrics={"loss": 0.0}, status="RUNNING"),
    ]
    assert compare(runs[:2]).headline == "test_rmse"
    assert compare(runs).headline == "train_rmse"


def test_the_loss_of_different_loss_functions_has_no_best() -> None:
    runs = [
        run(params={"training.loss": loss}, metrics={"loss": value, "validation_loss": value})
        for loss, value in (("mse", 1.0), ("huber", 0.5))
    ]
    compared = compare(runs)
    assert best_of(compared, "loss") == best_of(compared, "validation_loss") == []
    assert "mse in run 1; huber in run 2" in compared.warnings[0]


@pytest.mark.parametrize("unlike", [{"data.target": "price"}, DATA | {"data.seed": "7"}])
def test_of_runs_of_other_targets_or_rows_none_is_the_best(unlike: dict[str, str]) -> None:
    given = {"data.target": "y"} | (DATA if "data.seed" in unlike else {})
    alike = [run(params=given, metrics={"test_rmse": score}) for score in (1.0, 2.0)]
    assert best_of(compare(alike)) == [1]
    compared = compare([*alike, run(params=unlike, metrics={"test_rmse": 0.5})])
    assert (best_of(compared), compared.headline, verdict(compared)) == ([], None, "")
    assert "no run is called the best" in compared.warnings[0]


def test_effects_order_parameters_by_what_they_go_with() -> None:
    grid = [("sgd", "0.1", 1.0), ("sgd", "0.2", 0.9), ("adam", "0.1", 5.0), ("adam", "0.2", 4.0)]
    runs = [run(params={"optimizer": o, "lr": lr}, metrics={"train_rmse": s}) for o, lr, s in grid]
    first, second = compare(runs).effects.itertuples()
    assert (first.Index, first.good_value, first.good) == ("optimizer", "sgd", 0.9)
    assert (first.bad_value, first.bad) == ("adam", 4.0)
    assert (second.Index, second.good_value, second.bad) == ("lr", "0.2", 1.0)
    assert compare(runs[:2]).effects.empty


def test_the_verdict_names_the_best_run_and_what_it_changed() -> None:
    runs = [
        run(params={"lr": "0.1", "a": "1"}, metrics={"test_rmse": 2.0}),
        run(params={"lr": "0.2", "a": "1"}, metrics={"test_rmse": 0.5}),
    ]
    assert verdict(compare(runs)) == (
        "Best test_rmse: run 2 with 0.5 (-1.5 from run 1); different from run 1: lr=0.2."
    )
    assert verdict(compare(runs[::-1])) == "Best test_rmse: run 1 with 0.5."
    runs[0].params["model.hidden"] = "[64]"  # a net's; a line has none
    assert verdict(compare(runs)).endswith("different from run 1: lr=0.2.")
    assert verdict(compare(runs[:1])) == ""


def warned(*runs: RecordedRun) -> str:
    """All warnings in one text."""
    return "\n".join(compare(runs).warnings)


def test_runs_that_are_alike_give_no_warning() -> None:
    tags = {"data_digest": "d" * 64, "git_commit": "c" * 40, "git_dirty": "false"}
    unread = run(status="FAILED", params=DATA, tags={"git_commit": "c" * 40, "git_dirty": "false"})
    assert warned(run(params=DATA, tags=tags), run(params=DATA, tags=tags), unread) == ""


def test_other_data_are_warned_of_with_the_runs() -> None:
    told = warned(*(run(tags={"data_digest": digit * 64}) for digit in "aba"))
    assert "no run is called the best" in told
    assert "data differ" in told
    assert "aaaaaaaa in runs 1, 3; bbbbbbbb in run 2" in told


@pytest.mark.parametrize("key", DATA)
def test_another_split_is_warned_of(key: str) -> None:
    assert "held out differ" in warned(run(params=DATA), run(params=DATA | {key: "7"}))


def test_the_seed_is_no_split_where_nothing_is_held_out() -> None:
    nothing = DATA | {"data.test_fraction": "0.0"}
    assert warned(run(params=nothing), run(params=nothing | {"data.seed": "7"})) == ""


def test_other_code_is_warned_of_and_unknown_code_is_not() -> None:
    clean = run(tags={"git_commit": "c" * 40, "git_dirty": "false"})
    dirty = run(tags={"git_commit": "c" * 40, "git_dirty": "true"})
    assert "cccccccc with uncommitted changes in run 2" in warned(clean, dirty)
    assert warned(clean, run(tags={"git_commit": "unknown", "git_dirty": "unknown"})) == ""


def test_numbers_are_short_and_keep_their_size() -> None:
    shown = [number(value) for value in (None, 0.0, 1000.0, 1.5, 2.2737e-13, -0.02284, 1e30)]
    assert shown == ["-", "0", "1,000", "1.5", "2.274e-13", "-0.02284", "1e+30"]


def test_long_values_are_shortened_to_where_they_part() -> None:
    start = "[" + "1.0, " * 500
    one, other = shortened(pd.Series([start + "2.0]", start + "3.0]"]))
    assert one.endswith("2.0]")
    assert other.endswith("3.0]")
    assert len(one) < 40
    assert list(shortened(pd.Series(["sgd", "adam"]))) == ["sgd", "adam"]
    three = shortened(pd.Series([start + "2.0]", start + "3.0]", "0"]))
    assert len(set(three)) == 3
    assert max(map(len, three)) < 50


def test_a_parameter_that_one_run_lacks_is_written_as_missing() -> None:
    params = compare([run(params={"a": "1"}), run()]).params
    assert list(shortened(params.loc["a"])) == ["1", "-"]
