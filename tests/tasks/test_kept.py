"""What could not be recorded is kept whole, bit for bit."""

from pathlib import Path

import pytest
import torch

from plumbline.config.schema import Config
from plumbline.data.columns import choose_columns
from plumbline.data.files import find_files
from plumbline.data.table import Table
from plumbline.errors import InputError
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from plumbline.training.experiment import Result, measure, predict, train
from tasks.kept import discard_half_written, kept_unless_recorded, take_up
from tasks.tracking.run import Run
from tasks.tracking.store import StoreError
from tests.plumbline.tools import same_bits

ROWS = "x,town,y\n" + "".join(f"{n / 7},{'abc'[n % 3]},{n * 1.1 + n % 3}\n" for n in range(40))


@pytest.mark.parametrize("target", ["y", "town"])
@pytest.mark.parametrize("model", [{"kind": "linear"}, {"kind": "mlp", "hidden": [4]}])
def test_results_are_taken_up_as_they_were(
    model: dict, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / ".plumbline"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")  # given up in this process
    Path("rows.csv").write_text(ROWS)
    classes = target == "town"
    given = {"kind": "table", "path": "rows.csv", "target": target}
    given |= {} if classes else {"categorical": ["town"]}
    config = Config.model_validate({
        "experiment": "kept/1",
        "data": {**given, "test_fraction": 0.3},
        "model": model,
        "training": {"epochs": 7, "learning_rate": 0.1},
        "prediction": {"inputs": [[1.5, 2.0 if classes else "b"]]},
    }).of_target(classes)  # fmt: skip
    files = find_files("rows.csv")
    table = Table(files, choose_columns(config.data, files[0]))
    whole = combine(compress(table, part, config.data) for part in table.parts)
    data = Dataset.of(whole, config.data, table, {"files_new": 1, "files_reused": 0})
    trained = train(config, data, "cpu")
    metrics = measure(trained, data, config)
    predictions = predict(trained, data.encoding, config.prediction.inputs)
    run = Run(None, "0123456789", "a rate of 0." + 50 * "1", "1")
    with (
        pytest.raises(StoreError, match=r"away\. What .* FOLDER=\.plumbline/unrecorded/1") as kept,
        kept_unless_recorded(run, Result(config, data, trained, metrics, predictions)),
    ):
        raise OSError("away.")
    Path("rows.csv").unlink()
    found = take_up(str(kept.value).partition("FOLDER=")[2])
    again = found.result
    assert (found.run_id, again.config) == ("0123456789", config)
    assert (again.metrics, again.predictions) == (metrics, predictions)
    assert again.data.encoding == data.encoding
    assert again.data.counts == data.counts
    assert same_bits(again.data.summary, data.summary)
    assert again.trained.curves == trained.curves
    assert again.trained.best_epoch == trained.best_epoch
    rows = data.summary.sample.rows[:, :-1]
    assert torch.equal(again.trained.module(rows), trained.module(rows))
    if fit := trained.logistic:
        assert torch.equal(again.trained.logistic.errors, fit.errors)
        assert again.trained.logistic.classes == ("a", "b", "c")
    if trained.exact:
        assert again.trained.exact.optimum.mse == trained.exact.optimum.mse
        assert [value for value, _ in again.trained.coefficients] == [
            value for value, _ in trained.coefficients
        ]
    found.discard()
    with pytest.raises(InputError, match="FOLDER must be a folder"):
        take_up(str(found.folder))


def test_what_was_written_by_half_is_removed_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path))
    discard_half_written()
    (tmp_path / "unrecorded/.half").mkdir(parents=True)
    (tmp_path / "unrecorded/whole").mkdir()
    discard_half_written()
    assert [path.name for path in (tmp_path / "unrecorded").iterdir()] == ["whole"]
