"""What MLflow is told, against a real SQLite store."""

import json
import math
import re
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from plumbline.config.schema import Config
from plumbline.errors import InputError
from tasks.tracking.experiment import experiment_id, page, source_tags
from tasks.tracking.losses import LossLog
from tasks.tracking.run import Run, end_runs, tracked_run

CONFIG = Config.model_validate({"experiment": "tracking", "data": {"kind": "synthetic", "rows": 4}})


def ended_by(client: MlflowClient, error: BaseException | None) -> tuple[str, str | None]:
    """(status, reason) of a run whose body raises."""

    known: list[Run] = []
    expected = pytest.raises(type(error)) if error else nullcontext()
    with expected, tracked_run(CONFIG, "try", "cpu", "flow", "lease") as run:
        known.append(run)
        run.losses.add(1, 0.5)
        if error:
            raise error
    stored = client.get_run(known[0].id)
    assert [m.value for m in client.get_metric_history(known[0].id, "loss")] == [0.5]
    return stored.info.status, stored.data.tags.get("reason")


def test_a_run_ends_as_its_body_did_and_keeps_its_losses(client: MlflowClient) -> None:
    assert ended_by(client, None) == ("FINISHED", None)
    assert ended_by(client, ValueError("why")) == ("FAILED", "ValueError: why")
    assert ended_by(client, KeyboardInterrupt()) == ("KILLED", "interrupted")


def test_any_metric_name_and_number_of_metrics_is_taken(client: MlflowClient) -> None:
    metrics = {f"prediction_{i}": float(i) for i in range(2_500)}
    metrics |= {"prediction_1e+20_a&b": 1.0, "long_" + "x" * 500: 2.0, "none": math.nan}
    with tracked_run(CONFIG, "try", "cpu", "flow", "lease") as run:
        run.log(metrics)
    stored = client.get_run(run.id).data.metrics
    assert stored["prediction_1e_20_a_b"] == 1.0
    assert stored[("long_" + "x" * 500)[:250]] == 2.0
    assert stored["prediction_2499"] == 2499.0
    assert "none" not in stored


def test_losses_are_sent_in_order_in_batches_and_a_failure_is_not_lost() -> None:
    sent: list[list[Metric]] = []
    log = LossLog(sent.append)
    with log.sending():
        for epoch in range(1, 2_501):
            log.add(epoch, 1 / epoch)
    assert [metric.step for batch in sent for metric in batch] == list(range(1, 2_501))
    assert max(map(len, sent)) <= 1_000

    def refuse(batch: list[Metric]) -> None:
        raise OSError("the store is gone")

    log = LossLog(refuse)
    with pytest.raises(OSError, match="the store is gone"), log.sending():
        log.add(1, 1.0)


def test_what_went_wrong_can_be_followed_to_its_cause() -> None:
    """An error that is raised twice while another one follows from it would be its own cause."""

    def refuse(batch: list[Metric]) -> None:
        raise OSError("the store is gone")

    def record(log: LossLog) -> None:
        with log.sending():
            log.add(1, 1.0)
            try:
                log.close()
            except OSError as error:
                raise ValueError("kept") from error

    with pytest.raises(ValueError, match="kept") as caught:
        record(LossLog(refuse))
    assert str(caught.value.__cause__) == "the store is gone"
    assert caught.value.__cause__.__context__ is None


def described(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """(how it ended, what it was) of a run's description."""
    ending, what = client.get_run(run_id).data.tags["mlflow.note.content"].split("\n\n")
    return ending, what


def test_the_description_says_how_a_run_ended_and_leads_to_its_flow_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_UI_URL", "http://127.0.0.1:4200")
    with tracked_run(CONFIG, "try", "cpu", "flow-id", "lease") as run:
        assert described(client, run.id)[0] == "Running."
        run.log(tags={"epochs_run": 1000})
        run.log({"train_rmse": 0.25, "optimality_gap": 0.5})
    assert described(client, run.id) == (
        "Finished after 1,000 epochs: train_rmse 0.25, optimality_gap 0.5.",
        "sgd, learning rate 0.01, mse, up to 1,000 epochs on 4 generated rows, noise 0 (cpu). "
        "[Prefect run](http://127.0.0.1:4200/runs/flow-run/flow-id)",
    )
    with suppress(ValueError), tracked_run(CONFIG, "try", "cpu", "f", "lease") as run:
        run.losses.add(1, 0.5)
        raise ValueError("first line\nsecond line.")
    ending, what = described(client, run.id)
    assert ending == "Failed: ValueError: first line second line. Loss by then: 0.5."
    assert what.endswith("/runs/flow-run/f)")


def test_a_run_killed_from_outside_is_described_so(client: MlflowClient) -> None:
    with tracked_run(CONFIG, "try", "cpu", "flow", "a-lease") as run:
        end_runs("another-lease", "KILLED", "the power went")
        assert described(client, run.id)[0] == "Running."
        end_runs("a-lease", "KILLED", "the power went")
        assert described(client, run.id)[0] == "Killed: the power went."
        assert client.get_run(run.id).info.status == "KILLED"


def test_names_are_numbered_within_an_experiment(client: MlflowClient) -> None:
    def names(*wanted: str, config: Config = CONFIG) -> list[str]:
        recorded = []
        for name in wanted:
            with tracked_run(config, name, "cpu", "flow", "lease") as run:
                recorded.append(client.get_run(run.id).info.run_name)
                assert run.name == recorded[-1]
        return recorded

    assert names("tutorial", "tutorial", "tutorial a=1", "tutorial", "tutorial a=1") == [
        "tutorial", "tutorial (2)", "tutorial a=1", "tutorial (3)", "tutorial a=1 (2)",
    ]  # fmt: skip
    quoted = 'it\'s 100% "x" [1]\nand more'
    told = 'it\'s 100% "x" [1] and more'
    assert names(quoted, quoted) == [told, f"{told} (2)"]
    assert [len(name) for name in names("x" * 500)] == [120]
    elsewhere = CONFIG.model_copy(update={"experiment": "elsewhere"})
    assert names("tutorial", config=elsewhere) == ["tutorial"]


def test_a_new_experiment_has_a_description_and_a_view_that_it_links_to(
    client: MlflowClient,
) -> None:
    with tracked_run(CONFIG, "try", "cpu", "flow", "lease"):
        pass
    experiment = client.get_experiment_by_name("tracking")
    assert f"]({page(experiment)})" in experiment.tags["mlflow.note.content"]
    key = re.search(r"viewStateShareKey=(\w+)", page(experiment)).group(1)
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    state = json.loads(view["state"])
    assert state["selectedColumns"][:2] == ["metrics.`train_rmse`", "metrics.`gain_over_linear`"]
    charts = [chart["metricKey"] for chart in state["compareRunCharts"]]
    assert charts[:3] == ["loss", "validation_loss", "test_rmse"]
    older = client.get_experiment(client.create_experiment("older"))
    assert "viewStateShareKey" not in page(older)


def test_losses_wait_while_the_store_is_away_and_are_sent_once() -> None:
    sent: list[Metric] = []
    tried = threading.Event()

    def send(batch: list[Metric]) -> None:
        if not tried.is_set():
            tried.set()
            raise OSError("the store is away")
        sent.extend(batch)

    log = LossLog(send)
    with log.sending():
        log.add(1, 1.0)
        assert tried.wait(60)
        for epoch in range(2, 1_500):
            log.add(epoch, 1 / epoch)
        while not sent:
            time.sleep(0.01)
    assert [metric.step for metric in sent] == list(range(1, 1_500))


def test_an_experiment_that_mlflow_does_not_take_is_refused_with_its_reason(
    client: MlflowClient,
) -> None:
    with pytest.raises(InputError, match=r"experiment must be a name that MLflow accepts .*500"):
        experiment_id(client, "x" * 501, "test_rmse")


def test_the_commit_is_the_projects_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = source_tags()
    monkeypatch.chdir(tmp_path)
    assert source_tags() == here
