"""Columns of many levels: the most frequent are kept, and the others are one level."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from plumbline import predict, train
from plumbline.config.loading import validated
from plumbline.config.schema import Split
from plumbline.data import buffer
from plumbline.data.encoding import OTHER
from plumbline.data.levels import count_levels, with_levels
from plumbline.data.split import share_rows
from plumbline.library import read
from plumbline.registry.scoring import score
from plumbline.training.model import LinearModel
from plumbline.training.stored import StoredModel
from tests.plumbline.tools import opened, refusal, write

KEPT = 20


def table(folder: Path, kind: str, order: str = "mixed") -> pd.DataFrame:
    """Three files of 60 levels, of which level k has 5 + k rows; the target depends on them."""
    random = np.random.default_rng(3)
    codes = np.repeat(np.arange(60), 5 + np.arange(60))
    codes = np.sort(codes) if order == "sorted" else random.permutation(codes)
    effect = random.normal(size=60)
    rows = pd.DataFrame({"x": random.normal(size=len(codes)), "g": [f"g{c:02}" for c in codes]})
    rows["y"] = 2 * rows["x"] + effect[codes] + 0.1 * random.normal(size=len(codes))
    for i, places in enumerate(np.array_split(np.arange(len(codes)), 3)):
        write(folder / f"{i}.{kind}", rows.iloc[places].to_dict("list"))
    return rows


def config(path: Path, **data: object):
    keys = {"kind": "table", "path": str(path), "target": "y", "categorical": ["g"]}
    return validated(
        {"experiment": "e", "data": {**keys, **data}, "training": {"optimizer": "exact"}}, "test"
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_a_line_predicts_what_scikit_learns_encoder_of_infrequent_levels_leads_to(
    order: str, kind: str, tmp_path: Path
) -> None:
    rows = table(tmp_path, kind, order)
    model = train(config(tmp_path, max_levels=KEPT))
    encoder = OneHotEncoder(max_categories=KEPT + 1, handle_unknown="infrequent_if_exist")
    features = encoder.fit_transform(rows[["g"]]).toarray()
    fitted = LinearRegression().fit(np.column_stack([rows["x"], features]), rows["y"])
    asked = pd.DataFrame({"x": [0.5] * 5, "g": ["g59", "g40", "g39", "g00", "never met"]})
    expected = fitted.predict(
        np.column_stack([asked["x"], encoder.transform(asked[["g"]]).toarray()])
    )
    assert predict(model, asked.to_dict("records")) == pytest.approx(expected, rel=1e-9)
    assert model.data.encoding.levels["g"] == (*(f"g{c}" for c in range(40, 60)), OTHER)


def test_levels_are_counted_in_the_training_rows(tmp_path: Path):
    rows = table(tmp_path, "parquet")
    split = {"test_fraction": 0.3, "validation_fraction": 0.2}
    opened_table = opened(tmp_path, categorical=["g"], max_levels=KEPT)
    counts = [count_levels(opened_table, Split(**split), part) for part in opened_table.parts]
    all_levels = opened(tmp_path, categorical=["g"], max_levels=60)
    names = [f"g={level}" for level in sorted(rows["g"].unique())]
    drawn = torch.cat([*share_rows(all_levels, Split(**split), ("train",), names)]).sum(dim=0)
    found = {f"g={level}": 0.0 for level in rows["g"]}
    for each in counts:
        for level, n in zip(each["level"].to_pylist(), each["rows"].to_pylist(), strict=True):
            found[f"g={level}"] += n
    assert [found[name] for name in names] == drawn.tolist()


def test_a_list_changes_only_if_a_level_outside_is_twice_as_frequent_as_one_inside(
    tmp_path: Path,
) -> None:
    names = {"a": 9, "b": 6, "c": 4, "d": 7, "e": 1}
    values = [name for name, n in names.items() for _ in range(n)]
    write(tmp_path / "a.csv", {"g": values, "y": [*range(len(values))]})
    found = opened(tmp_path, categorical=["g"], max_levels=3)
    counts = [count_levels(found, Split(), part) for part in found.parts]

    def chosen(*before: str) -> tuple[str, ...]:
        lists = {"g": before} if before else {}
        return with_levels(found, counts, lists)[0].columns.categorical["g"]

    assert chosen() == ("a", "b", "d", OTHER)
    assert chosen("a", "b", "c", OTHER) == ("a", "b", "c", OTHER)  # d has 7, c has 4
    assert chosen("a", "b", "e", OTHER) == ("a", "b", "d", OTHER)
    assert chosen("a", "b", "gone", OTHER) == ("a", "b", "d", OTHER)


@pytest.mark.parametrize("known", [("g00", "g57", "g58"), ("g57", "g58", "g59")])
def test_an_older_model_of_another_list_is_scored_by_its_own(known, tmp_path: Path) -> None:
    table(tmp_path, "csv")
    data = read(config(tmp_path, max_levels=3, test_fraction=0.5).data, "cpu")
    encoding = replace(data.encoding, levels={"g": (*known, OTHER)})
    weights = torch.tensor([2.0, 0.3, -0.4, 5.0], dtype=torch.float64)
    split = config(tmp_path, test_fraction=0.5).data
    found = score(StoredModel("y", encoding, LinearModel(1.0, weights)), data)
    every = opened(tmp_path, categorical=["g"], max_levels=60)
    names = ("x", *(f"g={each}" for each in known), "y")
    rows = torch.cat([*share_rows(every, split, ("test",), names)])
    own = rows[:, 1:4].clone()
    other = 1 - own.sum(dim=1, keepdim=True)
    features = torch.cat([rows[:, :1], own[:, 1:], other], dim=1)
    error = 1 + features @ weights - rows[:, -1]
    assert found["test_mse"] == pytest.approx(float(error.square().mean()), rel=1e-9)


def test_levels_of_which_r_does_not_fit_in_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path, "csv")
    monkeypatch.setattr(buffer, "MEMORY", 1 << 16)
    message = refusal(tmp_path, categorical=["g"])
    assert message.startswith("data.max_levels must be so few that R fits in memory (6.55e-05 GB)")
