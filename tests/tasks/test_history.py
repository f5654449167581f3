"""Reading runs for a comparison, from a real SQLite store."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from plumbline.errors import InputError
from tasks.tracking.history import other_experiments, read_losses, read_runs

DAY = 24 * 3600 * 1000


@pytest.fixture
def add(client: MlflowClient):
    """A function that records a run; each begins a day after the one before."""
    began = 0

    def record(
        experiment: str,
        name: str,
        status: str = "FINISHED",
        losses: Sequence[float] = (),
        **tags: str,
    ) -> str:
        nonlocal began
        began += DAY
        known = client.get_experiment_by_name(experiment)
        where = known.experiment_id if known else client.create_experiment(experiment)
        run_id = client.create_run(where, start_time=began, run_name=name).info.run_id
        metrics = [Metric("loss", loss, 1, epoch) for epoch, loss in enumerate(losses, start=1)]
        for first in range(0, len(metrics), 1_000):
            client.log_batch(run_id, metrics[first : first + 1_000])
        told = [RunTag(key.replace("__", "."), value) for key, value in tags.items()]
        client.log_batch(run_id, params=[Param("name", name)], tags=told)
        if status != "RUNNING":
            client.set_terminated(run_id, status)
        return run_id

    return record


def names(experiment: str | None = None, wanted: Sequence[str] = ()) -> list[str]:
    """The names of the runs that are read."""
    return [run.name for run in read_runs(experiment, wanted)]


def refused(experiment: str | None = None, wanted: Sequence[str] = ()) -> str:
    """The line of a refusal."""
    with pytest.raises(InputError) as caught:
        read_runs(experiment, wanted)
    return str(caught.value)


def test_by_default_the_latest_runs_of_the_last_experiment_are_read_the_oldest_first(add) -> None:
    for number in range(13):
        add("many", f"run {number}")
    add("few", "alone")
    assert names() == ["alone"]
    assert names("many") == [f"run {number}" for number in range(3, 13)]
    add("many", "the last")
    assert names()[-1] == "the last"


def test_a_sweeps_parent_is_left_out_unless_it_is_named(add) -> None:
    add("sweep", "a=1")
    parent = add("sweep", "the sweep", plumbline__sweep="3 trials")
    add("sweep", "a=2")
    assert names() == ["a=1", "a=2"]
    assert names(None, [parent]) == ["the sweep"]


def test_runs_are_found_by_id_by_its_beginning_and_by_name_in_the_order_asked_for(add) -> None:
    elsewhere = add("other", "same")
    first, second = add("these", "it's (1)"), add("these", "same")
    assert names(None, [second, "it's (1)", first[:12]]) == ["same", "it's (1)"]
    assert [run.id for run in read_runs(None, ["same"])] == [second]
    assert [run.id for run in read_runs("other", ["same"])] == [elsewhere]
    assert names("other", ["it's (1)"]) == ["it's (1)"]  # which that experiment does not have
    assert other_experiments("other") == ["these"]
    assert [run.experiment for run in read_runs(None, [elsewhere, second])] == ["other", "these"]


def test_what_is_not_there_is_refused_with_the_nearest(client: MlflowClient, add) -> None:
    assert "make run-pipeline" in refused()
    add("tutorial", "tutorial a=1")
    client.create_experiment("empty")
    assert "(did you mean 'tutorial'?). Got 'tutoral' instead." in refused("tutoral")
    assert "EXPERIMENT must be an experiment that has runs" in refused("empty")
    assert "ids or names of runs (such as 'tutorial a=1')." in refused(None, ["0123abcd"])
    assert "(did you mean 'tutorial a=1'?)" in refused(None, ["tutorial a=2"])


def test_a_name_that_several_runs_share_is_refused_with_their_ids(add) -> None:
    ids = [add("twins", "twin") for _ in range(2)]
    line = refused(None, ["twin"])
    assert all(run_id[:8] in line for run_id in ids)


def test_a_record_holds_how_the_run_ended(add) -> None:
    add("ends", "well", epochs_run="7", reason="not told of what ended well")
    add("ends", "badly", status="FAILED", reason="the loss became inf")
    add("ends", "not yet", status="RUNNING")
    well, badly, not_yet = read_runs("ends")
    assert (well.status, well.reason, well.metrics["epochs_run"]) == ("FINISHED", "", 7)
    assert (badly.status, badly.reason) == ("FAILED", "the loss became inf")
    assert (not_yet.status, not_yet.reason) == ("RUNNING", "")
    assert well.params == {"name": "well"}
    assert well.started < badly.started


def test_all_losses_of_a_short_run_and_an_even_choice_of_a_long_one_are_read(add) -> None:
    short = add("losses", "short", losses=[1.0, 0.5, 0.25])
    long = add("losses", "long", losses=[1 / epoch for epoch in range(1, 5_001)])
    assert read_losses(short) == [(1, 1.0), (2, 0.5), (3, 0.25)]
    points = read_losses(long)
    epochs = [epoch for epoch, _ in points]
    assert len(points) == 2_000
    assert (epochs[0], epochs[-1]) == (1, 5_000)
    assert {after - before for before, after in pairwise(epochs)} <= {2, 3}
    assert all(loss == 1 / epoch for epoch, loss in points)
    assert read_losses(add("losses", "none")) == []
