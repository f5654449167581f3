"""Classes from a file to their scores: names, baselines, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics
from sklearn.datasets import load_wine

import plumbline
from plumbline.config.loading import validated
from plumbline.data.split import share_rows
from plumbline.errors import InputError
from plumbline.library import Model
from plumbline.training import newton
from plumbline.training.advice import few_values
from tests.plumbline.tools import write

MLP = {"kind": "mlp", "hidden": [8]}


def trained(path: Path, model: dict | None = None, **data: object) -> Model:
    raw = {"kind": "table", "path": str(path), "target": "y", **data}
    sections = {"experiment": "c", "data": raw, "model": model or {"kind": "linear"}}
    return plumbline.train(validated({**sections, "training": {"device": "cpu"}}, "c.yaml"))


def wine(path: Path) -> Path:
    x, y = load_wine(return_X_y=True)
    cultivars = [f"cultivar {i}" for i in y]
    return write(path, {"a": x[:, 0].tolist(), "b": x[:, 2].tolist(), "y": cultivars})


def labelled(y: list) -> dict[str, list]:
    """Rows whose class does not quite follow from x."""
    return {"x": [float(i * 7 % 13) for i in range(len(y))], "y": y}


@pytest.mark.parametrize("model", [None, MLP])
def test_scores_are_scikit_learns_on_the_same_rows(tmp_path: Path, model: dict | None) -> None:
    found = trained(wine(tmp_path / "a.csv"), model, test_fraction=0.3)
    scores, split = plumbline.evaluate(found), found.config.data.holding_out
    columns = (*found.data.encoding.features, *found.data.outputs)
    for share in ("train", "test"):
        rows = torch.cat([*share_rows(found.data.source, split, (share,), columns)])
        p = found.module(rows[:, :2]).detach().double().softmax(dim=1).numpy()
        observed, predicted = rows[:, 2:].argmax(dim=1).numpy(), p.argmax(axis=1)
        expected = {
            "accuracy": metrics.accuracy_score(observed, predicted),
            "log_loss": metrics.log_loss(observed, p),
            "f1": metrics.f1_score(observed, predicted, average="macro"),
        }
        for name, value in expected.items():
            assert scores[f"{share}_{name}"] == pytest.approx(value, rel=1e-9)
    ranked = metrics.roc_auc_score(observed, p, multi_class="ovr")
    assert scores["test_roc_auc"] == pytest.approx(ranked, rel=1e-9)


@pytest.mark.parametrize(("validation", "fits"), [(0.0, 1), (0.2, 2)])
def test_the_logistic_model_is_fitted_once_if_it_is_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: float, fits: int
) -> None:
    counted = []
    fit = newton.maximize_likelihood
    monkeypatch.setattr(
        newton, "maximize_likelihood", lambda *given: (counted.append(1), fit(*given))[1]
    )
    shares = {"test_fraction": 0.3, "validation_fraction": validation}
    scores = plumbline.evaluate(trained(wine(tmp_path / "a.csv"), **shares))
    assert len(counted) == fits
    if not validation:
        assert scores["linear_test_log_loss"] == scores["test_log_loss"]


def test_the_baselines_are_the_shares_and_the_logistic_model(tmp_path: Path) -> None:
    path = wine(tmp_path / "a.csv")
    net, line = (trained(path, model, test_fraction=0.3) for model in (MLP, None))
    of_net, of_line = plumbline.evaluate(net), plumbline.evaluate(line)
    assert of_line["gain_over_linear"] == pytest.approx(0.0, abs=1e-9)
    gain = 1 - of_net["test_log_loss"] / of_net["linear_test_log_loss"]
    assert of_net["gain_over_linear"] == pytest.approx(gain)
    counts = line.data.class_counts(line.data.profiled.train)
    shares = np.array([*counts.values()]) / sum(counts.values())
    held_out = np.array([*line.data.class_counts(line.data.profiled.test).values()])
    expected = -(held_out * np.log(shares)).sum() / held_out.sum()
    assert of_line["majority_test_log_loss"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "target_type", "classes"),
    [
        ([True, False, False], "auto", ("False", "True")),
        ([10, 9, 2], "class", ("2", "9", "10")),
        ([1.0, 0.5, 1.0], "class", ("0.5", "1")),
        (["b", "a", "c"], "auto", ("a", "b", "c")),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_names_are_the_values_as_they_are_written_sorted(
    tmp_path: Path, kind: str, values: list, target_type: str, classes: tuple[str, ...]
) -> None:
    path = write(tmp_path / f"a.{kind}", labelled(values * 15))
    found = trained(path, target_type=target_type)
    assert found.data.encoding.classes == classes
    (told,) = plumbline.predict(found, [3.0])
    assert told in classes


def test_a_prediction_has_the_likeliest_class_and_every_probability(tmp_path: Path) -> None:
    found = trained(wine(tmp_path / "a.csv"))
    (told,) = plumbline.training.prediction.predict(
        found.trained, found.data.encoding, [[13.0, 2.3]]
    )
    assert told.value == max(told.probabilities, key=told.probabilities.get)
    assert sum(told.probabilities.values()) == pytest.approx(1)
    assert tuple(told.probabilities) == found.data.encoding.classes


def test_one_class_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", labelled(["a"] * 20))
    with pytest.raises(InputError, match=r"'y' must have at least two classes\. Got only 'a'"):
        trained(path)


def test_a_class_of_held_out_rows_only_is_refused(tmp_path: Path) -> None:
    path, held_out = tmp_path / "a.csv", []
    rows = labelled(["a", "b"] * 20)
    for place in range(40):  # the first row that is held out gets a class of its own
        alone = [*rows["y"][:place], "c", *rows["y"][place + 1 :]]
        write(path, {**rows, "y": alone})
        try:
            trained(path, test_fraction=0.3)
        except InputError as error:
            held_out.append(str(error))
            break
    assert "class 'c' of 'y' must be in the training rows" in held_out[0]


@pytest.mark.parametrize("model", [None, MLP])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_class_whose_rows_are_all_dropped_has_no_effect(
    tmp_path: Path, model: dict | None, weighted: bool
) -> None:
    rows = pd.DataFrame(labelled(["b", "c", "c", "b"] * 30)).assign(w=1.0)
    gone = rows.assign(y="a", w=0.0) if weighted else rows.assign(y="a", x=None)
    given = {"class_weight": "balanced", "missing": "drop"}
    given |= {"weight": "w"} if weighted else {"exclude": ["w"]}
    found = []
    for some in ([rows], [rows, gone]):
        pd.concat(some).to_csv(tmp_path / "a.csv", index=False)
        of = trained(tmp_path / "a.csv", model, test_fraction=0.3, **given)
        assert of.data.encoding.classes == ("b", "c")
        found.append(plumbline.evaluate(of))
    assert found[1] == found[0] | {"rows_dropped": 120}


def test_a_row_without_a_class_is_dropped_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame(labelled([*["a", "b"] * 20, None])).to_csv(path, index=False)
    assert plumbline.evaluate(trained(path, missing="drop"))["rows_dropped"] == 1
    with pytest.raises(InputError, match="row 41 must be"):
        trained(path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1] * 15, 2), ([1, 2, 3] * 10, 0), ([0.5, 1.0] * 15, 0), (range(300), 0)],
)
def test_a_number_of_few_whole_values_may_be_a_name(
    tmp_path: Path, values: list, expected: int
) -> None:
    path = write(tmp_path / "a.csv", labelled([*values]))
    assert few_values(trained(path).data) == expected


def test_many_files_and_one_give_the_same_model(tmp_path: Path) -> None:
    """The later file brings a class that sorts first and a level that the first does not have."""
    rows = {
        "x": [float(i * 7 % 13) for i in range(60)],
        "g": list("abb" * 20),
        "y": list("cd" * 30),
    }
    rows["y"][45], rows["y"][50], rows["g"][55] = "b", "b", "z"
    write(tmp_path / "one" / "a.csv", rows)
    for number, share in enumerate((slice(0, 40), slice(40, 60))):
        write(tmp_path / "two" / f"{number}.csv", {n: v[share] for n, v in rows.items()})
    one, two = (trained(tmp_path / name, categorical=["g"]) for name in ("one", "two"))
    assert one.data.encoding == two.data.encoding
    assert two.data.encoding.classes == ("b", "c", "d")
    x = torch.rand(5, 3, dtype=torch.float64)
    assert torch.allclose(one.module(x).softmax(dim=1), two.module(x).softmax(dim=1), atol=1e-6)
