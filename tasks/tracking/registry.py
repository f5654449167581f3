"""A registered model: its versions, who is champion, and every promotion."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from plumbline.errors import InputError, refuse
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
APPLIED = "applied"  # tag of the registered model: the key of the last promotion that was applied


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model as it was when it was read.

    Attributes:
        name: its name.
        aliases: alias to version.
        tags: of the model itself.
        versions: by number, ascending.
    """

    client: MlflowClient
    name: str
    aliases: dict[str, int]
    tags: dict[str, str]
    versions: dict[int, ModelVersion]

    @property
    def champion(self) -> ModelVersion | None:
        """The version that is live."""
        return self.versions.get(self.aliases.get(CHAMPION, 0))

    @property
    def incumbent(self) -> ModelVersion | None:
        """What a new model must beat: the champion; if its version or alias was deleted by hand,
        the version that was live last and is still there."""
        live = (self.versions.get(promotion.to) for promotion in reversed(self.promotions))
        return self.champion or next((version for version in live if version), None)

    @property
    def promotions(self) -> list[Promotion]:
        """Every promotion, rollbacks included, the oldest first."""
        return all_promotions(self.tags, self.versions.values())

    @property
    def history(self) -> list[HistoryEntry]:
        """Which version was live when, the oldest first."""
        return history_of(self.promotions, self.versions.values())

    def register(self, source: str, run_id: str, tags: dict[str, str]) -> int:
        """Add a version, complete with its tags, in one call; returns its number.

        Args:
            source: the logged model, as models:/ID.
            run_id: the run that trained it.
            tags: `decision` among them. If it is "promoted", apply_promotions moves the alias.
        """
        model_id = source.removeprefix("models:/")
        made = self.client.create_model_version(
            self.name, source, run_id, tags=tags, model_id=model_id
        )
        return int(made.version)

    def move_to(self, to: str | None) -> tuple[int, int]:
        """(the champion, the version to move it to): `to`, or the previous champion.

        Raises:
            InputError: there is no champion or no previous one, or `to` is no other version.
        """
        known = ", ".join(map(str, self.versions)) or "none"
        if self.incumbent is None:
            raise InputError(f"MODEL: '{self.name}' has no champion. Its versions: {known}.")
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
            raise refuse("TO", "another version than the champion", wanted)
        return live, int(wanted)

    def write(self, before: int, to: int, kind: str, who: str, reason: str) -> Promotion:
        """Append a promotion to the list, in one call; apply_promotions lets the aliases follow."""
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
    """A registered model, while no other command on this machine changes it.

    It is made if there is none, and what a killed process left undone is done first. Another
    machine, or a checkout that shares a tracking server, is not kept out.
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
    """The version that a new model must beat; None if there is none, or no such model."""
    if not if_there(open_store().get_registered_model, name):
        return None
    with registered_model(name) as model:
        return model.incumbent


def known_model(name: str) -> str:
    """The name, if a model is registered under it; if it is empty, that of the only model.

    Raises:
        InputError: there is none; the message lists those there are.
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
    raise refuse("MODEL", f"a registered model ({', '.join(names)})", name)


def registered_names() -> list[str]:
    """The names of all registered models, sorted."""
    open_store()
    return sorted(model.name for model in mlflow.search_registered_models())


def apply_promotions(client: MlflowClient, name: str) -> RegisteredModel:
    """Let the aliases follow the last promotion; returns the model as it is then.

    `previous` is set before `champion`: killed anywhere between, the next call sets both again.
    If the last promotion was applied long ago and `champion` stands elsewhere, or nowhere, somebody
    moved or deleted it with other tools: that becomes a promotion of its own. Each is copied to
    the model's tags, because the tags of its version go if that is deleted.
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
    """A registered model as it stands, nothing set right."""
    found = client.get_registered_model(name)
    aliases = {alias: int(version) for alias, version in found.aliases.items()}
    versions = {
        int(v.version): v for v in mlflow.search_model_versions(filter_string=f"name='{name}'")
    }
    return RegisteredModel(client, name, aliases, dict(found.tags), dict(sorted(versions.items())))


def reconcile_models(names: set[str]) -> None:
    """Carry out what killed processes had decided about these models."""
    for name in sorted(names & {*registered_names()}):
        with registered_model(name):  # entering it does so
            pass
