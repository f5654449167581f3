"""What MLflow is told, against a real SQLite store."""

import math
from contextlib import nullcontext

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from regression.config import Config
from tasks.tracking.losses import LossLog
from tasks.tracking.run import Run, tracked_run

CONFIG = Config.model_validate({"experiment": "tracking", "data": {"kind": "synthetic", "rows": 4}})


def ended_by(client: MlflowClient, error: BaseException | None) -> tuple[str, str | None]:
    """(status, reason) of a run whose body raises."""

    known: list[Run] = []
    expected = pytest.raises(type(error)) if error else nullcontext()
    with expected, tracked_run(CONFIG, "cpu", "flow", "lease") as run:
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
    with tracked_run(CONFIG, "cpu", "flow", "lease") as run:
        run.log_metrics(metrics)
    stored = client.get_run(run.id).data.metrics
    assert stored["prediction_1e_20_a_b"] == 1.0
    assert stored[("long_" + "x" * 500)[:250]] == 2.0
    assert stored["prediction_2499"] == 2499.0
    assert "none" not in stored


def test_losses_are_sent_in_order_in_batches_and_a_failure_is_not_lost() -> None:
    sent: list[list[Metric]] = []
    with LossLog(sent.append) as log:
        for epoch in range(1, 2_501):
            log.add(epoch, 1 / epoch)
    assert [metric.step for batch in sent for metric in batch] == list(range(1, 2_501))
    assert max(map(len, sent)) <= 1_000

    def refuse(batch: list[Metric]) -> None:
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"), LossLog(refuse) as log:
        log.add(1, 1.0)
