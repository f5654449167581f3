"""Versions, the champion and its moves, against a real registry; faults at every call."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.models import Model, get_model_info
from torch import nn

from flows.support.server import free_port
from plumbline import library
from plumbline.config.schema import Config
from plumbline.config.training import Training
from plumbline.data.encoding import Encoding
from plumbline.errors import InputError
from plumbline.linear.problem import Standardizer
from plumbline.registry.history import HistoryEntry, blocked
from plumbline.training.exported import export
from plumbline.training.model import RawModel
from tasks.gates import _origin
from tasks.screen import print_history
from tasks.tracking.artifact import ModelToLog, log_model
from tasks.tracking.housekeeping import prune
from tasks.tracking.models import (
    TEST_PREDICTIONS,
    DamagedModelError,
    default_model,
    exact_uri,
    latest_model,
    load_profile,
    load_stored,
)
from tasks.tracking.registry import (
    RegisteredModel,
    apply_promotions,
    known_model,
    read_model,
    reconcile_models,
    registered_model,
)
from tasks.tracking.run import tracked_run
from tasks.tracking.store import StoreError, as_store_error

CONFIG = Config.model_validate({"experiment": "registry", "data": {"kind": "synthetic", "rows": 4}})
CHANGING = (
    "create_model_version", "set_registered_model_alias", "set_registered_model_tag",
    "delete_model_version", "delete_registered_model_tag", "delete_logged_model",
)  # fmt: skip


class Killed(BaseException):
    """Stands where kill -9 would: nothing of the project catches it."""


def logged(weight: float = 1.0, config: Config = CONFIG) -> tuple[str, str]:
    """(URI, run) of a model that was logged as make run-pipeline does."""
    module = nn.Linear(1, 1, dtype=torch.float64)
    with torch.no_grad():
        module.weight.fill_(weight)
        module.bias.fill_(0.5)
    with tracked_run(config, "a run", "cpu", "flow", "lease") as run:
        example = pd.DataFrame({"x": [1.0, 2.0]})
        uri = log_model(run, ModelToLog(module.eval(), Encoding(("x",), {}), True, example))
    return uri, run.id


def add(
    decision: str = "promoted", name: str = "m", digest: str = "", of: tuple[str, str] | None = None
) -> int:
    """Register a version as the gate does, of a model that was logged or a new one; returns its
    number."""
    uri, run_id = of or logged()
    with registered_model(name) as model:
        tags = {
            "decision": decision, "reason": "because", "test_rmse": "0.5",
            "data_digest": digest or run_id, "config_digest": "c",
        }  # fmt: skip
        if model.champion:
            tags["champion_version"] = str(model.champion.version)
        version = model.register(uri, run_id, tags)
    with registered_model(name):
        return version


def roll_back(to: str | None = None, name: str = "m") -> None:
    """As make rollback does."""
    with registered_model(name) as model:
        before, after = model.move_to(to)
        model.write(before, after, "rolled back", "ada", f"from version {before}")
        apply_promotions(model.client, name)


def aliases(client: MlflowClient, name: str = "m") -> tuple[int | None, int | None]:
    """(champion, previous)"""
    found = client.get_registered_model(name).aliases
    return tuple(int(found[a]) if a in found else None for a in ("champion", "previous"))


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A function that lets the process die before its n-th call that changes the registry."""
    left = [-1]

    def guard(name: str) -> None:
        call = getattr(MlflowClient, name)

        def guarded(*given: object, **named: object) -> object:
            if left[0] == 0:
                raise Killed(name)
            left[0] -= 1
            return call(*given, **named)

        monkeypatch.setattr(MlflowClient, name, guarded)

    for name in CHANGING:
        guard(name)

    def die_before(calls: int) -> None:
        left[0] = calls

    yield die_before
    left[0] = -1


def check_whole(client: MlflowClient, name: str = "m") -> RegisteredModel:
    """What holds at every moment: one champion that loads; every version complete and loadable."""
    model = read_model(client, name)
    assert model.champion is not None
    for number, version in model.versions.items():
        assert version.tags["decision"] in ("promoted", "kept")
        assert version.tags["reason"]
        mlflow.pyfunc.load_model(f"models:/{name}/{number}")
    mlflow.pyfunc.load_model(f"models:/{name}@champion")
    return model


def test_promotions_and_rollbacks_move_the_aliases_and_stand_in_the_history(
    client: MlflowClient,
) -> None:
    assert [add(), add("kept"), add()] == [1, 2, 3]
    assert aliases(client) == (3, 1)
    roll_back()
    assert aliases(client) == (1, 3)
    roll_back("2")
    assert aliases(client) == (2, 1)
    assert add() == 4
    assert aliases(client) == (4, 2)
    with registered_model("m") as model:
        told = [(c.version, c.message.split(":")[0].split(" by")[0]) for c in model.history]
        live = [(c.since, c.until) for c in model.history if c.since]
    assert told == [
        (1, "promoted"), (2, "kept"), (3, "promoted"),
        (1, "rolled back"), (2, "rolled back"), (4, "promoted"),
    ]  # fmt: skip
    assert all(until == since for (_, until), (since, _) in pairwise(live))
    assert live[-1][1] is None
    check_whole(client)


def test_killed_before_any_call_a_promotion_is_whole_or_not_begun(
    client: MlflowClient, dying: Callable[[int], None]
) -> None:
    model = logged()
    for calls in range(6):
        name = f"killed before call {calls}"
        add(name=name, of=model)
        dying(calls)
        try:
            add(name=name, of=model)
        except Killed:
            assert aliases(client, name)[0] in (1, 2)
        dying(-1)
        begun = len(check_whole(client, name).versions) == 2
        reconcile_models({name, "unknown"})
        assert aliases(client, name) == ((2, 1) if begun else (1, None))
        promoted = [move.to for move in check_whole(client, name).promotions]
        assert promoted == ([1, 2] if begun else [1])
        assert begun is (calls > 0)


def test_killed_before_any_call_a_rollback_is_whole_or_not_begun(
    client: MlflowClient, dying: Callable[[int], None]
) -> None:
    model = logged()
    for calls in range(5):
        name = f"killed before call {calls}"
        add(name=name, of=model)
        add(name=name, of=model)
        dying(calls)
        try:
            roll_back(name=name)
        except Killed:
            assert aliases(client, name)[0] in (1, 2)
        dying(-1)
        reconcile_models({name})
        assert aliases(client, name) == ((1, 2) if calls else (2, 1))
        assert len(check_whole(client, name).promotions) == (3 if calls else 2)


def test_an_alias_moved_with_another_tool_stays_and_stands_in_the_history(
    client: MlflowClient,
) -> None:
    add()
    add()
    client.set_registered_model_alias("m", "champion", "1")
    with registered_model("m") as model:
        assert [move.kind for move in model.promotions] == ["promoted", "promoted", "moved by hand"]
    assert aliases(client) == (1, 2)
    assert add() == 3
    assert aliases(client) == (3, 1)


def test_a_copied_version_is_promoted_by_nobody(client: MlflowClient) -> None:
    add()
    add()
    for name, number, champion in (("m", "3", (2, 1)), ("copies", "1", (None, None))):
        client.copy_model_version("models:/m/1", name)
        with registered_model(name) as model:
            entry = model.history[-1]
        assert (entry.version, entry.since, entry.message) == (
            int(number),
            None,
            "copy of models:/m/1",
        )
        assert aliases(client, name) == champion
    client.set_registered_model_alias("copies", "champion", "1")
    assert add(name="copies") == 2
    assert aliases(client, "copies") == (2, 1)


def test_tags_that_were_edited_by_hand_stop_no_command_or_are_named(client: MlflowClient) -> None:
    for decision in ("promoted", "promoted", "kept"):
        add(decision)
    client.set_model_version_tag("m", "2", "champion_version", "none")
    client.set_model_version_tag("m", "3", "test_rmse", "none")
    with registered_model("m") as model:
        assert [entry.scores for entry in model.history] == [{"test_rmse": "0.5"}] * 2 + [{}]
    roll_back("1")
    move = "move.000003.001"
    client.set_registered_model_tag("m", move, "none")
    with pytest.raises(InputError, match=rf"tag {move} must be .* Got 'none'"):
        roll_back("2")


def test_a_version_that_another_tool_registered_was_not_kept_by_the_gate(
    client: MlflowClient,
) -> None:
    add()
    uri, run_id = logged()
    client.create_model_version("m", uri, run_id)
    with registered_model("m") as model:
        entry = model.history[-1]
    assert (entry.version, entry.since, entry.message) == (2, None, "registered by another tool")


def test_a_model_of_which_no_version_was_ever_promoted_has_a_history(client: MlflowClient) -> None:
    add("kept")
    with registered_model("m") as model:
        (entry,) = model.history
    assert (entry.version, entry.since, entry.message) == (1, None, "kept: because")
    client.delete_model_version("m", "1")
    assert read_model(client, "m").history == []


@pytest.mark.parametrize("what", ["alias", "version"])
def test_a_champion_deleted_by_hand_stands_in_the_history_and_what_was_live_last_is_to_beat(
    client: MlflowClient, what: str
) -> None:
    add()
    add()
    if what == "alias":
        client.delete_registered_model_alias("m", "champion")
    else:
        client.delete_model_version("m", "2")
    left = 2 if what == "alias" else 1
    for _ in range(2):  # it is noticed once
        with registered_model("m") as model:
            assert (model.champion, int(model.incumbent.version)) == (None, left)
            assert [(m.kind, m.before, m.to) for m in model.promotions] == [
                ("promoted", 0, 1), ("promoted", 1, 2), ("deleted by hand", 2, 0),
            ]  # fmt: skip
            deleted = model.history[-1]
    assert (deleted.version, deleted.until) == (0, None)
    assert deleted.message.startswith("deleted by hand by another tool: the alias was deleted")
    assert aliases(client) == (None, left)
    roll_back()
    assert aliases(client)[0] == left
    assert add() == 3
    check_whole(client)


def test_without_any_version_that_was_live_there_is_nothing_to_beat(client: MlflowClient) -> None:
    add()
    client.delete_model_version("m", "1")
    with registered_model("m") as model:
        assert model.incumbent is None
        with pytest.raises(InputError, match="has no champion"):
            model.move_to(None)
    assert add() == 2
    assert aliases(client) == (2, None)


def test_what_was_rolled_back_is_blocked_until_somebody_moves_back_to_it(
    client: MlflowClient,
) -> None:
    add(digest="old")
    add(digest="bad")
    roll_back()
    with registered_model("m") as model:
        assert set(blocked(model.promotions)) == {"bad c"}
    add(digest="good")
    with registered_model("m") as model:
        assert blocked(model.promotions)["bad c"].who == "ada"
    roll_back("2")
    with registered_model("m") as model:
        assert set(blocked(model.promotions)) == {"good c"}


class LaterTraining(Training):
    """The section of a later version, which has one key more."""

    added: int = 7


def test_a_key_that_a_later_version_adds_lifts_no_block(client: MlflowClient) -> None:
    later = CONFIG.model_copy(update={"training": LaterTraining(**dict(CONFIG.training))})
    other = later.model_copy(update={"training": LaterTraining(**dict(CONFIG.training), added=8)})
    data = library.train(CONFIG).data
    with tracked_run(CONFIG, "a run", "cpu", "flow", "lease") as run:
        of = [_origin(run, config, data)["config_digest"] for config in (CONFIG, later, other)]
    assert of[0] == of[1] != of[2]


def test_wrong_rollbacks_are_refused_and_change_nothing(client: MlflowClient) -> None:
    add("kept")
    with registered_model("m") as model, pytest.raises(InputError, match="has no champion"):
        model.move_to(None)
    add()
    with registered_model("m") as model:
        for to, told in (
            (None, "had no other champion"), ("9", r"a version of 'm' \(1, 2\)"),
            ("", "a version of"), ("x", "a version of"), ("2", "a version other than the champion"),
        ):  # fmt: skip
            with pytest.raises(InputError, match=told):
                model.move_to(to)
    assert aliases(client) == (2, None)


def test_models_are_known_by_name(client: MlflowClient) -> None:
    with pytest.raises(InputError, match="none is registered here yet"):
        known_model("m")
    add()
    assert known_model("m") == known_model("") == "m"
    assert default_model() == "models:/m@champion"
    with pytest.raises(InputError, match=r"a registered model \(m\)"):
        known_model("n")


def test_without_one_champion_the_default_is_the_latest_runs_model(client: MlflowClient) -> None:
    add("kept")
    assert default_model().startswith("runs:/")
    add(name="n")
    assert default_model().startswith("runs:/")


def test_the_latest_runs_model_is_not_one_that_was_deleted_or_is_of_another_program(
    client: MlflowClient,
) -> None:
    _, kept = logged()
    _, deleted = logged()
    client.delete_run(deleted)
    (experiment,) = client.search_experiments(filter_string="name = 'registry'")
    other = client.create_run(experiment.experiment_id)
    client.set_terminated(other.info.run_id)
    for run_id in (other.info.run_id, "0" * 32, None):  # 0: deleted by mlflow gc
        client.create_logged_model(experiment.experiment_id, "model", source_run_id=run_id)
    assert latest_model() == f"runs:/{kept}/model"


def test_mlflow_pytorch_has_nothing_to_warn_of_on_the_machine_that_trained(
    client: MlflowClient,
) -> None:
    stored = get_model_info(logged()[0]).flavors["pytorch"]["pytorch_version"]
    assert stored == torch.__version__


def test_a_model_is_found_by_its_run(client: MlflowClient) -> None:
    uri, run_id = logged(weight=2.5)
    assert exact_uri(f"runs:/{run_id}/model") == exact_uri(f"runs:/{run_id[:8]}/model") == uri
    assert load_stored(f"runs:/{run_id}/model").module.weights.tolist() == [2.5]
    with pytest.raises(InputError, match=f"run {run_id} has no model 'other'"):
        load_stored(f"runs:/{run_id}/other")
    with pytest.raises(InputError, match="nowhere"):
        load_stored("runs:/nowhere/model")


def test_a_stored_models_numbers_are_read_and_a_damaged_one_is_refused(
    client: MlflowClient,
) -> None:
    uri, _ = logged(weight=2.5)
    fitted = load_stored(uri, "y")
    assert (fitted.module.intercept, fitted.module.weights.tolist()) == (0.5, [2.5])
    folder = Path(client.get_logged_model(uri.removeprefix("models:/")).artifact_location)
    stored = next(folder.rglob("model.pt2"))
    whole = stored.read_bytes()
    stored.write_bytes(whole[:100])
    with pytest.raises(DamagedModelError, match="TO must be a model of this project"):
        load_stored(uri, where="TO")
    encoding = next(folder.rglob("encoding.json"))
    intact = encoding.read_text()
    stored.write_bytes(whole)
    encoding.write_text(intact.replace('["x"]', '["x", "z"]'))
    with pytest.raises(DamagedModelError, match="1 weights for 2 features"):
        load_stored(uri)
    encoding.write_text(intact)
    stored.unlink()
    with pytest.raises(DamagedModelError, match=r"\(.*No such file.*model.pt2"):
        load_stored(uri)


def test_a_stored_net_is_loaded_as_its_module_and_its_damage_is_said(
    client: MlflowClient, tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    ones = torch.ones(2, dtype=torch.float64)
    module = RawModel(net.eval(), Standardizer(ones, 2 * ones, 4.0, 3.0), None)
    encoding = Encoding(("a", "b"), {})
    with tracked_run(CONFIG, "a net", "cpu", "flow", "lease") as run:
        example = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, -4.0]})
        uri = log_model(run, ModelToLog(module, encoding, True, example))
    rows = torch.tensor([[1.5, 2.0], [-3.0, 1e6], [0.0, 0.0]], dtype=torch.float64)
    assert torch.equal(load_stored(uri).module(rows), module(rows))
    (stored,) = (tmp_path / "mlruns").rglob("model.pt2")
    stored.write_bytes(export(RawModel(nn.Linear(2, 3), Standardizer(ones, ones), None), 2))
    with pytest.raises(DamagedModelError, match=r"\[2, 3\] outputs for 2 rows"):
        load_stored(uri)
    stored.write_bytes(export(nn.Linear(3, 1), 3))
    with pytest.raises(DamagedModelError, match="3 weights for 2 features"):
        load_stored(uri)
    stored.write_bytes(stored.read_bytes()[:100])
    with pytest.raises(DamagedModelError, match="a model of this project"):
        load_stored(uri)


def test_a_model_that_the_store_does_not_deliver_is_not_damaged(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, run_id = logged()
    (tmp_path / "mlruns").rename(tmp_path / "away")
    with pytest.raises(StoreError, match=f"no file of {uri}"):
        load_stored(uri)
    (tmp_path / "away").rename(tmp_path / "mlruns")
    encoding = next((tmp_path / "mlruns").rglob("encoding.json"))
    encoding.rename(tmp_path / "kept")
    encoding.symlink_to(encoding)  # the system refuses to read it, also to root
    with pytest.raises(OSError, match="symbolic links"):
        load_stored(uri)
    encoding.unlink()
    (tmp_path / "kept").rename(encoding)
    assert load_stored(uri).module.weights.tolist() == [1.0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match="does not answer"):
        load_stored(uri)
    with pytest.raises(StoreError, match="does not answer"), as_store_error():
        load_profile(run_id)


def test_a_model_of_another_tool_is_called_so_and_none_of_its_code_runs(
    client: MlflowClient, tmp_path: Path
) -> None:
    code = tmp_path / "theirs.py"
    code.write_text("raise SystemExit('was run')")
    theirs = Model(flavors={"python_function": {"model_code_path": str(code)}})
    theirs.flavors["python_function"]["loader_module"] = "mlflow.pyfunc.loaders.code_model"
    theirs.save(str(tmp_path / "MLmodel"))
    with pytest.raises(DamagedModelError, match="not logged by this project"):
        load_stored(str(tmp_path))


def test_history_has_the_scores_of_the_newest_champion(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        HistoryEntry("1", 1, 1, 2, "", {"test_rmse": "0.5"}),
        HistoryEntry("2", 2, None, None, "", {"test_log_loss": "0.25"}),
    ]
    print_history("m", entries)
    assert ["test_rmse" in (shown := capsys.readouterr().out), "0.5" in shown] == [True, True]
    print_history("m", [*entries, HistoryEntry("3", 2, 2, None, "", entries[1].scores)])
    assert ["test_log_loss" in (shown := capsys.readouterr().out), "0.25" in shown] == [True, True]


@pytest.mark.parametrize("uri", ["nonsense", "models:/", "models:/m", "foo://x/y", "models:/m/9"])
def test_a_name_that_names_no_model_is_wrong_input(client: MlflowClient, uri: str) -> None:
    with pytest.raises(InputError, match=f"Got '{uri}' instead"):
        load_stored(uri)


def test_old_versions_go_with_their_files_but_never_the_champion_nor_the_previous_one(
    client: MlflowClient,
) -> None:
    decisions = ["promoted", "kept", "promoted", "kept", "promoted", "kept", "kept", "kept"]
    places = []
    for decision in decisions:
        version = client.get_model_version("m", str(add(decision)))
        model = client.get_logged_model(version.source.removeprefix("models:/"))
        client.log_text(version.run_id, "rows", TEST_PREDICTIONS)
        client.log_text(version.run_id, "kept", "config.yaml")
        rows = Path(client.get_run(version.run_id).info.artifact_uri, TEST_PREDICTIONS)
        places.append((Path(model.artifact_location), rows))
    with registered_model("m") as model:
        before = model.history
        assert prune(model, 2) == [1, 2, 4, 6]
        assert prune(read_model(client, "m"), 2) == []
    assert list(check_whole(client).versions) == [3, 5, 7, 8]
    left = [tuple(map(Path.exists, place)) for place in places]
    assert left == [2 * (n in (3, 5, 7, 8),) for n in range(1, 9)]
    assert all(rows.with_name("config.yaml").exists() for _, rows in places)
    assert aliases(client) == (5, 3)
    with registered_model("m") as model:
        assert model.history == [c for c in before if c.since or c.version in (7, 8)]
        assert not [tag for tag in model.tags if tag.startswith("pruning")]


def test_housekeeping_that_was_killed_is_finished_by_the_next(
    client: MlflowClient, dying: Callable[[int], None]
) -> None:
    model = logged()
    for calls in range(6):
        name = f"killed before call {calls}"
        for of in (None, model, model):
            add(name=name, of=of)
        source = client.get_model_version(name, "1").source
        place = Path(client.get_logged_model(source.removeprefix("models:/")).artifact_location)
        dying(calls)
        try:
            prune(read_model(client, name), 1)
        except Killed:
            check_whole(client, name)
        dying(-1)
        prune(read_model(client, name), 1)
        assert list(check_whole(client, name).versions) == [2, 3]
        assert [move.to for move in read_model(client, name).promotions] == [1, 2, 3]
        assert not place.exists()


def test_a_version_of_a_run_under_way_is_not_deleted(client: MlflowClient) -> None:
    for _ in range(3):
        add("kept")
    run = client.get_run(client.get_model_version("m", "1").run_id)
    client.update_run(run.info.run_id, status="RUNNING")
    assert prune(read_model(client, "m"), 1) == [2]
