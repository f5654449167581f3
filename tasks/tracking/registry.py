"""A registered model: its versions, the champion, and every promotion."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from plumbline.errors import InputError, listed, refuse
from plumbline.registry.history import (
    DELETED,
    PREFIX,
    HistoryEntry,
    Promotion,
    all_promotions,
    fingerprint,
    history_of,
    key_of,
    scores_of,
)
from tasks.lease import exclusive
from tasks.tracking.store import if_there, open_store

CHAMPION, PREVIOUS = "champion", "previous"
APPLIED = "applied"  # tag of the registered model: the key of the last promotion applied


@dataclass(frozen=True)
class RegisteredModel:
    """The state of a registered model when it was read.

    Attributes:
        client: for reads and writes.
        name: its name.
        aliases: the version of each alias.
        tags: the tags of the model itself, not of its versions.
        versions: the versions by number, in ascending order.
    """

    client: MlflowClient
    name: str
    aliases: dict[str, int]
    tags: dict[str, str]
    versions: dict[int, ModelVersion]

    @property
    def champion(self) -> ModelVersion | None:
        """The version that has the alias `champion`."""
        return self.versions.get(self.aliases.get(CHAMPION, 0))

    @property
    def incumbent(self) -> ModelVersion | None:
        """The version that a new model must beat: the champion; if its version or alias was deleted
        by hand, the last former champion that still exists."""
        live = (self.versions.get(promotion.to) for promotion in reversed(self.promotions))
        return self.champion or next((version for version in live if version), None)

    @property
    def promotions(self) -> list[Promotion]:
        """Every promotion, including rollbacks, oldest first."""
        return all_promotions(self.tags, self.versions.values())

    @property
    def history(self) -> list[HistoryEntry]:
        """Which version was live when, oldest first."""
        return history_of(self.promotions, self.versions.values())

    def register(self, source: str, run_id: str, tags: dict[str, str]) -> int:
        """Create a version with all its tags in a single call; return its number.

        Args:
            source: the logged model: models:/ID.
            run_id: the run that trained it.
            tags: the version's tags. If `decision` is "promoted", apply_promotions moves the alias.
        """
        model_id = source.removeprefix("models:/")
        made = self.client.create_model_version(
            self.name, source, run_id, tags=tags, model_id=model_id
        )
        return int(made.version)

    def move_to(self, to: str | None) -> tuple[int, int]:
        """The numbers of the champion and of the version to replace it: `to` or the previous one.

        Raises:
            InputError: there is no champion or no previous one, or `to` is not another version.
        """
        known = listed(map(str, self.versions))
        if self.incumbent is None:
            raise InputError(
                f"MODEL: '{self.name}' has no champion to roll back (versions: {known}). The next "
                "run that passes the gate becomes the champion."
            )
        live = self.aliases.get(CHAMPION, 0)
        if to is None and self.aliases.get(PREVIOUS) not in self.versions:
            raise InputError(
                f"TO must name a version, because '{self.name}' had no other champion before "
                f"version {live}. Its versions: {known}."
            )
        wanted = str(self.aliases[PREVIOUS]) if to is None else to
        if wanted not in map(str, self.versions):
            raise refuse("TO", f"a version of '{self.name}' ({known})", wanted)
        if int(wanted) == live:
            raise refuse("TO", "a version other than the champion", wanted)
        return live, int(wanted)

    def write(self, before: int, to: int, kind: str, who: str, reason: str) -> Promotion:
        """Record a promotion in a single call; apply_promotions then moves the aliases."""
        known = [tuple(map(int, promotion.key.split("."))) for promotion in self.promotions]
        newest, number = max([*known, (max(self.versions, default=0), 0)])
        key = key_of(newest, number + 1)
        left = fingerprint(self.versions[before].tags) if before in self.versions else ""
        scores = scores_of(self.versions[to]) if to else {}
        promotion = Promotion(
            key, int(time.time() * 1000), before, to, kind, who, reason, scores, left
        )
        self.client.set_registered_model_tag(self.name, PREFIX + key, promotion.to_text())
        return promotion


@contextmanager
def registered_model(name: str) -> Iterator[RegisteredModel]:
    """Yield a registered model and let no other command on this machine change it meanwhile.

    It is created if it does not exist, and a promotion that a killed process left unfinished is
    applied first. Other machines, and other checkouts on the same tracking server, are not locked
    out.
    """
    with exclusive(f"champion of {name}", of_store=True):
        client = open_store()
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        yield apply_promotions(client, name)


def incumbent_of(name: str) -> ModelVersion | None:
    """The version that a new model must beat; None if the model has none or does not exist."""
    if not if_there(open_store().get_registered_model, name):
        return None
    with registered_model(name) as model:
        return model.incumbent


def known_model(name: str) -> str:
    """Check the name of a registered model; an empty name stands for the only registered model.

    Raises:
        InputError: there is no such model; the message lists the existing ones.
    """
    names = registered_names()
    if name in names:
        return name
    if not name and len(names) == 1:
        return names[0]
    if not names:
        raise InputError(
            "MODEL must name a registered model, and none is registered here yet. Add "
            "registry: {model: NAME} to a configuration and run it."
        )
    raise refuse("MODEL", f"a registered model ({listed(names)})", name)


def registered_names() -> list[str]:
    """The names of all registered models, sorted."""
    open_store()
    return sorted(model.name for model in mlflow.search_registered_models())


def apply_promotions(client: MlflowClient, name: str) -> RegisteredModel:
    """Set the aliases as the last promotion says; return the model after that.

    If the process is killed in between, the next call sets both aliases again. If the last
    promotion was already applied and `champion` is now at another version or missing, somebody
    moved or deleted it with another tool, which is recorded as a promotion of its own. Each
    promotion is copied to the model's tags, because a version's tags are lost when it is deleted.
    """
    model = read_model(client, name)
    last = model.promotions[-1] if model.promotions else None
    live = model.aliases.get(CHAMPION, 0)
    if last and model.tags.get(APPLIED) == last.key and live != last.to:
        kind, what = ("moved by hand", "moved") if live else (DELETED, "deleted, or its version")
        last = model.write(last.to, live, kind, "another tool", f"the alias was {what}")
    if last is None or model.tags.get(APPLIED) == last.key:
        return model
    if PREFIX + last.key not in model.tags:
        client.set_registered_model_tag(name, PREFIX + last.key, last.to_text())
    for alias, version in ((PREVIOUS, last.before), (CHAMPION, last.to)):
        if version in model.versions:
            client.set_registered_model_alias(name, alias, str(version))
    client.set_registered_model_tag(name, APPLIED, last.key)
    return read_model(client, name)


def read_model(client: MlflowClient, name: str) -> RegisteredModel:
    """Read a registered model without applying any promotion."""
    found = client.get_registered_model(name)
    aliases = {alias: int(version) for alias, version in found.aliases.items()}
    versions = {
        int(v.version): v for v in mlflow.search_model_versions(filter_string=f"name='{name}'")
    }
    return RegisteredModel(client, name, aliases, dict(found.tags), dict(sorted(versions.items())))


def reconcile_models(names: set[str]) -> None:
    """Apply the promotions that killed processes had decided on for these models."""
    for name in sorted(names & {*registered_names()}):
        with registered_model(name):  # applies them on entry
            pass
