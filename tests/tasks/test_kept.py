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
from plumbline.training.experiment import Result, measure, train
from plumbline.training.nets import with_budget
from plumbline.training.prediction import predict
from tasks.kept import keep, kept_unless_recorded, read_kept
from tasks.tracking.run import Run
from tasks.tracking.store import StoreError
from tests.plumbline.tools import ROOT, same_bits

ROWS = "x,town,y\n" + "".join(f"{n / 7},{'abc'[n % 3]},{n * 1.1 + n % 3}\n" for n in range(40))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / ".plumbline"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")  # given up in this process


def result_of(model: dict, target: str) -> Result:
    """What a run on a table comes to."""
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
    config = with_budget(config, data.summary.train.rows)
    trained = train(config, data, "cpu")
    metrics = measure(trained, data, config)
    predictions = predict(trained, data.encoding, config.prediction.inputs)
    return Result(config, data, trained, metrics, predictions)


@pytest.mark.parametrize("target", ["y", "town"])
@pytest.mark.parametrize(
    "model",
    [
        {"kind": "linear"},
        {"kind": "mlp", "hidden": [4]},
        {"kind": "python", "file": str(ROOT / "models" / "net.py")},
    ],
)
def test_what_could_not_be_recorded_is_read_again_as_it_was(model: dict, target: str) -> None:
    result = result_of(model, target)
    run = Run(None, "0123456789", "a rate of 0." + 50 * "1", "1")
    with (
        pytest.raises(StoreError, match=r"away\. What .* FOLDER=\.plumbline/unrecorded/1") as kept,
        kept_unless_recorded(run, result),
    ):
        raise OSError("away.")
    Path("rows.csv").unlink()
    run_id, again = read_kept(str(kept.value).partition("FOLDER=")[2])
    assert (run_id, again.config) == ("0123456789", result.config)
    assert (again.metrics, again.predictions) == (result.metrics, result.predictions)
    data, trained = result.data, result.trained
    assert again.data.encoding == data.encoding
    assert again.data.counts == data.counts
    assert same_bits(again.data.summary, data.summary)
    assert again.trained.curves == trained.curves
    assert again.trained.best_epoch == trained.best_epoch
    rows = data.summary.sample.rows[:, :-1]
    assert torch.equal(again.trained.module(rows), trained.module(rows))
    if fit := trained.likelihood:
        assert torch.equal(again.trained.likelihood.errors, fit.errors)
        assert again.trained.likelihood.classes == ("a", "b", "c")
    if trained.exact:
        assert again.trained.exact.optimum.mse == trained.exact.optimum.mse
        assert [value for value, _ in again.trained.coefficients] == [
            value for value, _ in trained.coefficients
        ]
    with pytest.raises(InputError, match="FOLDER must be a folder"):
        read_kept("another")


def test_what_was_written_by_half_is_no_result_and_is_replaced() -> None:
    folder = Path(".plumbline/unrecorded/kept-1-a-run-01234567")
    folder.mkdir(parents=True)
    (folder / "result.pickle.part").write_text("half")
    with pytest.raises(InputError, match="FOLDER must be a folder"):
        read_kept(str(folder))
    run = Run(None, "0123456789", "a run", "1")
    assert keep(run, result_of({"kind": "linear"}, "y")) == folder
    assert [file.name for file in folder.iterdir()] == ["result.pickle"]
