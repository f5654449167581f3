"""Notifications of how a run ended, through any service that Apprise knows.

Whom to tell is what stands in the configuration that a command read itself, never in a flow run's
parameters: whoever can reach Prefect's server writes those, and addresses name environment
variables. What goes wrong here is a note on the screen: it never changes how the run ended.
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

PATIENCE_SECONDS = 5  # a run that is being stopped has ten in all
VARIABLE = re.compile(r"\$\{(\w+)\}")


def check_addresses(notify: Notify) -> None:
    """Check every address without sending anything.

    Raises:
        InputError: a variable is not set, or Apprise does not know the kind of address. The message
            holds no variable's value.
    """
    sender = _apprise()
    for number, (written, address) in enumerate(zip(notify.to, _expanded(notify), strict=True)):
        if not sender.add(address):
            raise refuse(f"notify.to[{number}]", "an address that Apprise knows", written)


def tell_how_it_ended(flow: "Flow", flow_run: "FlowRun", state: "State") -> None:
    """Prefect's hook at the end of a flow run."""
    tell(held_notify(), flow_run, state)


def tell(notify: dict[str, Any] | None, flow_run: "FlowRun", state: "State") -> None:
    """Send the notifications of a section `notify`; waits a few seconds at most."""
    if not notify:
        return
    try:
        asked = Notify.model_validate(notify)
        if ("success" if state.is_completed() else "failure") in asked.on:
            _send(asked, *_message(flow_run.parameters["config"], flow_run.name, state))
    except InputError as error:
        note(f"nobody was notified: {error}")
    except Exception as error:  # another library's text may hold an address
        note(f"nobody was notified: {type(error).__name__}")


def _message(config: dict[str, Any], name: str, state: "State") -> tuple[str, str]:
    what = (config.get("registry") or {}).get("model") or config["experiment"]
    ended = "finished" if state.is_completed() else f"ended: {state.name}"
    return f"Retraining of {what} {ended}", f"Flow run {name}. {state.message or ''}".strip()


def _send(notify: Notify, title: str, body: str) -> None:
    sender = _apprise()
    known = [sender.add(address) for address in _expanded(notify)]
    taken: list[bool] = []
    # a service that hangs must not hold up the end of the run
    thread = threading.Thread(
        target=lambda: taken.append(bool(sender.notify(body=body, title=title))), daemon=True
    )
    thread.start()
    thread.join(PATIENCE_SECONDS)
    if taken != [True] or not all(known):
        note(f"not everybody was notified: one of {len(known)} addresses did not take it")


def _expanded(notify: Notify) -> Iterator[str]:
    """The addresses with their variables' values."""
    for number, address in enumerate(notify.to):
        try:
            yield VARIABLE.sub(lambda found: os.environ[found[1]], address)
        except KeyError as error:
            raise InputError(
                f"notify.to[{number}] must name environment variables that are set. "
                f"{error.args[0]} is not: export it before this command."
            ) from None


def _apprise() -> "Apprise":
    """A sender without addresses. Apprise's log, which shows addresses, is turned off."""
    from apprise import Apprise

    logging.getLogger("apprise").disabled = True
    return Apprise()
