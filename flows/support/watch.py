"""`schedule.on_change`: runs that start because files arrived, changed or went."""

import time
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import Deployment
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Scheduled

from plumbline.config.schema import Config
from plumbline.data.files import fingerprint

TAG = "on-change"  # of every run that a watch has planned; the next tag is its files' fingerprint
LOOK_SECONDS = 3.0


class Watch:
    """Looks at the files of a deployment's data and plans a run when they are others.

    Others than those of the last run that it planned: Prefect's record is the memory, so it lasts
    when the schedule is stopped. A file that differs between two looks may still be being written,
    so these files wait for the next look.

    Args:
        client: of the server.
        deployment: without a schedule of its own.
        config: of a table, with schedule.on_change.
    """

    def __init__(self, client: SyncPrefectClient, deployment: Deployment, config: Config) -> None:
        self._client, self._deployment = client, deployment
        self._path = config.data.path
        self._pause = timedelta(seconds=config.schedule.at_most_every)
        self._seen, self._next_look = "", 0.0

    def look(self) -> None:
        """Plan a run for this moment if one is due. Call it while no run is under way.

        Raises:
            OSError: the files cannot be listed just now. InputError: they never will be.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        before, self._seen = self._seen, fingerprint(self._path)
        if self._seen and self._seen == before and self._is_due():
            self._client.create_flow_run_from_deployment(
                self._deployment.id, state=Scheduled(), tags=[TAG, self._seen]
            )

    def _is_due(self) -> bool:
        """Whether the files are to be trained on; after a run that was left out or crashed, again.

        A run that failed had its try: what is wrong with its files would only come again.
        """
        if self._client.read_deployment(self._deployment.id).paused:
            return False
        last = self._last()
        if last is None:
            return True
        if not last.state.is_final() or datetime.now(UTC) < last.expected_start_time + self._pause:
            return False
        undone = last.state.is_crashed() or last.state.name == "Skipped"
        return undone or self._seen not in last.tags

    def _last(self) -> FlowRun | None:
        found = self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                tags={"all_": [TAG]}, deployment_id={"any_": [self._deployment.id]}
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        return next(iter(found), None)
