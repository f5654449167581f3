"""The history of the champion: an append-only list of promotions that the aliases follow.

A promotion is written in one call before an alias changes, so that if the process is killed in
between, the alias can be set later from the list. The promotion of a model that passed the gate is
in the tags with which its version is created; a rollback, or the promotion of a version that has
been deleted, is in a tag of the registered model.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from plumbline.config.metrics import COMPARABLE, current_name
from plumbline.errors import refuse

PREFIX = "move."
DELETED = "deleted by hand"
LONGEST_REASON = 2_000  # characters; a tag of a registered model may have 5,000


class Version(Protocol):
    """A version of a registered model, as MLflow's client returns it.

    Attributes:
        version: its number.
        run_id: the run that trained it.
        source: the logged model, models:/ID; of a copy the copied version, models:/NAME/NUMBER.
        creation_timestamp: in milliseconds since 1970.
        tags: the decision of the gate and the scores that it measured.
    """

    version: str
    run_id: str
    source: str
    creation_timestamp: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Promotion:
    """One move of the alias `champion` from a version to another.

    Attributes:
        key: its place in the list: the newest version at that time, then a number; sortable.
        at: the time, in milliseconds since 1970.
        before: the previous champion; 0 if there was none.
        to: the new champion; 0 if there is none.
        kind: "promoted", "rolled back", "moved forward" (by make rollback, to a newer version),
            "moved by hand" (an alias set outside this project) or DELETED (the alias or its
            version).
        who: the user, or the run that promoted.
        reason: one sentence.
        scores: the metrics of the promoted model.
        left: the fingerprint (data and configuration) of the version that was rolled back; empty
            for other kinds.
    """

    key: str
    at: int
    before: int
    to: int
    kind: str
    who: str
    reason: str
    scores: dict[str, str]
    left: str = ""

    def to_text(self) -> str:
        """Convert to JSON, the value of a tag."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class HistoryEntry:
    """A line of the history: a period in which a version was live, or a version that never was.

    Attributes:
        key: the key of its promotion, by which entries sort.
        version: its number; 0 for a period without a champion.
        since, until: in milliseconds since 1970; `since` is None if it never was champion, `until`
            if it still is.
        message: what happened, and why.
        scores: its metrics on the held-out rows of that time.
    """

    key: str
    version: int
    since: int | None
    until: int | None
    message: str
    scores: dict[str, str]


def key_of(version: int, number: int) -> str:
    """The key of a promotion made while `version` was the newest; number 0 is its own promotion."""
    return f"{version:06}.{number:03}"


def fingerprint(tags: Mapping[str, str]) -> str:
    """The digests of a version's data and configuration, as one string."""
    return f"{tags.get('data_digest', '')} {tags.get('config_digest', '')}"


def scores_of(version: Version) -> dict[str, str]:
    """A version's scores on the held-out rows of its time, by metric; without those that were
    edited by hand to something that is no number."""
    tags = {current_name(name): value for name, value in version.tags.items()}
    return {name: tags[name] for name in COMPARABLE if _is_number(tags.get(name, ""))}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_copy(version: Version) -> bool:
    """Whether MLflow's copy_model_version made it: with the copied version's tags, which hold the
    decision of the gate about that one."""
    return version.source.startswith("models:/") and version.source.count("/") == 2


def was_promoted(version: Version) -> bool:
    """Whether the gate promoted it when it was registered."""
    return version.tags.get("decision") == "promoted" and not is_copy(version)


def promotion_of(version: Version) -> Promotion:
    """Rebuild the promotion of a promoted version from its tags."""
    tags, before = version.tags, version.tags.get("champion_version", "")
    return Promotion(
        key=key_of(int(version.version), 0),
        at=version.creation_timestamp,
        before=int(before) if before.isdecimal() else 0,  # tags can be edited by hand
        to=int(version.version),
        kind="promoted",
        who=f"run {version.run_id}",
        reason=tags.get("reason", "")[:LONGEST_REASON],
        scores=scores_of(version),
    )


def all_promotions(model_tags: dict[str, str], versions: Iterable[Version]) -> list[Promotion]:
    """Every promotion, the oldest first. Raises InputError if a tag cannot be read."""
    promoted = filter(was_promoted, versions)
    written = [tag for tag in model_tags if tag.startswith(PREFIX)]
    found = [*map(promotion_of, promoted), *(_read(tag, model_tags[tag]) for tag in written)]
    by_key = {promotion.key: promotion for promotion in found}
    return [by_key[key] for key in sorted(by_key)]


def _read(tag: str, text: str) -> Promotion:
    """A promotion from its tag. Raises InputError if the tag was edited by hand."""
    try:
        return Promotion(**json.loads(text))
    except (ValueError, TypeError):
        allowed = "as this project wrote it; delete it in MLflow if that text is lost"
        raise refuse(f"the registered model's tag {tag}", allowed, text) from None


def history_of(promotions: list[Promotion], versions: Iterable[Version]) -> list[HistoryEntry]:
    """The history, the oldest first: every promotion, and every version that was never promoted."""
    ends = [*(promotion.at for promotion in promotions), None][1:]
    found = [
        HistoryEntry(p.key, p.to, p.at, end, f"{p.kind} by {p.who}: {p.reason}", p.scores)
        for p, end in zip(promotions, ends, strict=True)
    ]
    for version in versions:
        tags, number = version.tags, int(version.version)
        if not was_promoted(version):
            message = "registered by another tool"
            if is_copy(version):
                message = f"copy of {version.source}"
            elif decision := tags.get("decision"):
                message = f"{decision}: {tags.get('reason', '')}"
            key, scores = key_of(number, 0), scores_of(version)
            found.append(HistoryEntry(key, number, None, None, message, scores))
    return sorted(found, key=lambda entry: entry.key)


def blocked(promotions: Iterable[Promotion]) -> dict[str, Promotion]:
    """The fingerprints that may not be promoted again, each with the rollback that blocked it.

    A later promotion to such a version lifts the block.
    """
    found: dict[str, Promotion] = {}
    for promotion in promotions:
        found = {key: was for key, was in found.items() if was.before != promotion.to}
        if promotion.kind == "rolled back" and promotion.left.strip():
            found[promotion.left] = promotion
    return found
