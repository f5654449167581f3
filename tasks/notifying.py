"""Sends notifications of how a run ended, through any service that Apprise supports.

The addresses come from the configuration that a command read itself, not from a flow run's
parameters: anyone with access to Prefect's server can write those, and addresses may contain
environment variables. A failure here is printed as a note and never changes how the run ended.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from plumbline.config.running import Notify
from plumbline.errors import InputError, refuse
from tasks.lease import held_notify
from tasks.screen import note

if TYPE_CHECKING:
    from apprise import Apprise
    from prefect import Flow, State
    from prefect.client.schemas import FlowRun

PATIENCE_SECONDS = 5  # a run that is being stopped has ten seconds in all
VARIABLE = re.compile(r"\$\{(\w+)\}")


def check_addresses(notify: Notify) -> None:
    """Check every address without sending anything.

    Raises:
        InputError: a variable is not set, or Apprise does not support the kind of address. The
            message does not contain the value of any variable.
    """
    sender = _apprise()
    for number, (written, address) in enumerate(zip(notify.to, _expanded(notify), strict=True)):
        if not sender.add(address):
            raise refuse(f"notify.to[{number}]", "an address that Apprise supports", written)


def tell_how_it_ended(flow: "Flow", flow_run: "FlowRun", state: "State") -> None:
    """Send the notifications of a flow run; a Prefect state hook."""
    tell(held_notify(), flow_run, state)


def tell(notify: dict[str, Any] | None, flow_run: "FlowRun", state: "State") -> None:
    """Send the notifications that a section `notify` asks for; wait at most a few seconds."""
    if not notify:
        return
    try:
        asked = Notify.model_validate(notify)
        if ("success" if state.is_completed() else "failure") in asked.on:
            _send(asked, *_message(flow_run.parameters["config"], flow_run.name, state))
    except InputError as error:
        note(f"nobody was notified: {error}")
    except Exception as error:  # its text may contain an address
        note(f"nobody was notified: {type(error).__name__}")


def _message(config: dict[str, Any], name: str, state: "State") -> tuple[str, str]:
    what = (config.get("registry") or {}).get("model") or config["experiment"]
    ended = "finished" if state.is_completed() else f"ended: {state.name}"
    return f"Retraining of {what} {ended}", f"Flow run {name}. {state.message or ''}".strip()


def _send(notify: Notify, title: str, body: str) -> None:
    sender = _apprise()
    known = [sender.add(address) for address in _expanded(notify)]
    taken: list[bool] = []
    # in a thread, because a service that hangs must not delay the end of the run
    thread = threading.Thread(
        target=lambda: taken.append(bool(sender.notify(body=body, title=title))), daemon=True
    )
    thread.start()
    thread.join(PATIENCE_SECONDS)
    if taken != [True] or not all(known):
        note("not everybody was notified: an address in notify.to failed or did not answer in time")


def _expanded(notify: Notify) -> Iterator[str]:
    """The addresses with variables replaced by their values."""
    for number, address in enumerate(notify.to):
        try:
            yield VARIABLE.sub(lambda found: os.environ[found[1]], address)
        except KeyError as error:
            raise InputError(
                f"notify.to[{number}] must name environment variables that are set. "
                f"{error.args[0]} is not: export it before this command."
            ) from None


def _apprise() -> "Apprise":
    """An Apprise object without addresses. Apprise's log is disabled because it shows addresses."""
    from apprise import Apprise

    logging.getLogger("apprise").disabled = True
    return Apprise()
