"""A webhook on this machine is told how runs end, and no secret is shown."""

from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.schemas import FlowRun
from prefect.states import Completed, Crashed, Failed, State

from plumbline.config.running import Notify
from plumbline.errors import InputError
from tasks.lease import lease
from tasks.notifying import check_addresses, tell, tell_how_it_ended
from tests.webhook import Webhook


def flow_run(**config: object) -> FlowRun:
    named = {"experiment": "e", "registry": {"model": "ozone"}, **config}
    return FlowRun(flow_id=uuid4(), name="brisk-otter", parameters={"config": named})


@pytest.mark.parametrize(
    ("state", "on", "expected"),
    [
        (Failed(message="y is text"), ["failure"], "Retraining of ozone ended: Failed"),
        (Crashed(message="killed"), ["failure"], "Retraining of ozone ended: Crashed"),
        (Completed(), ["failure"], None),
        (Completed(), ["failure", "success"], "Retraining of ozone finished"),
        (Failed(), ["success"], None),
    ],
)
def test_what_is_asked_for_is_told(
    webhook: Webhook, state: State, on: list[str], expected: str | None
) -> None:
    to = [f"json://127.0.0.1:{webhook.server_port}/hook"]
    tell({"to": to, "on": on}, flow_run(), state)
    assert [body["title"] for _, body in webhook.told] == ([expected] if expected else [])
    assert all("brisk-otter" in body["message"] for _, body in webhook.told)
    assert all((state.message or "") in body["message"] for _, body in webhook.told)


def test_variables_stand_for_secrets_that_are_never_shown(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    address = f"json://127.0.0.1:{webhook.server_port}/${{HOOK_TOKEN}}"
    webhook.status = 500
    tell({"to": [address]}, flow_run(), Failed(message="y is text"))
    webhook.server_close()
    tell({"to": [address]}, flow_run(), Failed(message="y is text"))
    assert webhook.told[0][0] == "/s3cret"
    out, err = capfd.readouterr()
    assert "not everybody was notified" in out
    assert "s3cret" not in out + err


def test_a_flow_runs_parameters_say_nothing_of_whom_to_tell(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    planted = flow_run(notify={"to": [f"json://127.0.0.1:{webhook.server_port}/${{HOOK_TOKEN}}"]})
    tell(None, planted, Failed())
    with lease({"to": [f"json://127.0.0.1:{webhook.server_port}/own"]}):
        tell_how_it_ended(None, planted, Failed())
    assert [path for path, _ in webhook.told] == ["/own"]


def test_a_service_that_hangs_holds_nothing_up(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tasks.notifying.PATIENCE_SECONDS", 0.5)
    webhook.answers.clear()
    tell({"to": [f"json://127.0.0.1:{webhook.server_port}"]}, flow_run(), Failed())
    assert "not everybody was notified" in capsys.readouterr().out


def test_a_variable_that_is_not_set_is_a_note_and_no_error(capsys) -> None:
    tell({"to": ["json://127.0.0.1/${NOT_SET_HERE}"]}, flow_run(), Failed())
    assert "NOT_SET_HERE is not: export it" in capsys.readouterr().out


def test_addresses_are_checked_without_telling_anybody(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_addresses(Notify(to=[f"json://127.0.0.1:{webhook.server_port}"]))
    assert webhook.told == []
    monkeypatch.setenv("HOOK", "nosuch://s3cret")
    with pytest.raises(InputError, match=r"notify.to\[0\] must be an address") as caught:
        check_addresses(Notify(to=["${HOOK}"]))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InputError, match="NOT_SET_HERE is not"):
        check_addresses(Notify(to=["json://${NOT_SET_HERE}"]))
