"""How `champion` went from version to version: an append-only list that the aliases follow.

A promotion is written in one call before an alias changes, so whatever is killed afterwards is
applied later from the list. A model that passed the gate has it in the tags that its version is
born with; a rollback is a tag of the registered model, and so is every promotion of a version that
is deleted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from plumbline.config.metrics import COMPARABLE, current_name

PREFIX = "move."
DELETED = "deleted by hand"
LONGEST_REASON = 2_000  # of 5,000 characters that a tag of a registered model may have


class Version(Protocol):
    """A version of a registered model, as MLflow's client returns it.

    Attributes:
        version: its number.
        run_id: the run that trained it.
        creation_timestamp: in milliseconds since 1970.
        tags: how the gate decided, and the scores that it measured.
    """

    version: str
    run_id: str
    creation_timestamp: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Promotion:
    """`champion` went from one version to another.

    Attributes:
        key: where it stands in the list: the newest version at that time, then a number; sorts.
        at: when, in milliseconds since 1970.
        before: the champion until then; 0 if there was none.
        to: the champion from then on; 0 if there was none.
        kind: "promoted", "rolled back", "moved forward" (by make rollback, to a newer version),
            "moved by hand" (an alias set outside this project) or DELETED (the alias or its
            version).
        who: the user, or the run that promoted.
        reason: one sentence.
        scores: metric values of a promoted model.
        left: fingerprint of the version that was left, of its data and configuration; empty
            if it does not matter.
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
        """As the value of a tag."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class HistoryEntry:
    """A line of the history: a time that a version was live, or a version that never was.

    Attributes:
        key: sorts.
        version: its number; 0 for a time without a champion.
        since, until: in milliseconds since 1970; no `since`: it was not made champion; no `until`:
            it is live now.
        message: what happened, and why.
        scores: metric values on the held-out rows of its time.
    """

    key: str
    version: int
    since: int | None
    until: int | None
    message: str
    scores: dict[str, str]


def key_of(version: int, number: int) -> str:
    """The key of a promotion while `version` was the newest: 0 is its own promotion."""
    return f"{version:06}.{number:03}"


def fingerprint(tags: Mapping[str, str]) -> str:
    """What a version was made from: its data and its configuration."""
    return f"{tags.get('data_digest', '')} {tags.get('config_digest', '')}"


def scores_of(version: Version) -> dict[str, str]:
    """How a version scored on the held-out rows of its time."""
    tags = {current_name(name): value for name, value in version.tags.items()}
    return {name: tags[name] for name in COMPARABLE if name in tags}


def promotion_of(version: Version) -> Promotion:
    """The promotion that a promoted version's own tags tell of."""
    tags = version.tags
    return Promotion(
        key=key_of(int(version.version), 0),
        at=version.creation_timestamp,
        before=int(tags.get("champion_version", 0)),
        to=int(version.version),
        kind="promoted",
        who=f"run {version.run_id}",
        reason=tags.get("reason", "")[:LONGEST_REASON],
        scores=scores_of(version),
    )


def all_promotions(model_tags: dict[str, str], versions: Iterable[Version]) -> list[Promotion]:
    """Every promotion, the oldest first."""
    promoted = (v for v in versions if v.tags.get("decision") == "promoted")
    written = [text for tag, text in model_tags.items() if tag.startswith(PREFIX)]
    found = [*map(promotion_of, promoted), *(Promotion(**json.loads(text)) for text in written)]
    by_key = {promotion.key: promotion for promotion in found}
    return [by_key[key] for key in sorted(by_key)]


def history_of(promotions: list[Promotion], versions: Iterable[Version]) -> list[HistoryEntry]:
    """The history, the oldest first: every promotion, and every version that was never promoted."""
    ends = [promotion.at for promotion in promotions[1:]] + [None]
    found = [
        HistoryEntry(p.key, p.to, p.at, end, f"{p.kind} by {p.who}: {p.reason}", p.scores)
        for p, end in zip(promotions, ends, strict=True)
    ]
    for version in versions:
        tags, number = version.tags, int(version.version)
        if tags.get("decision") != "promoted":
            message = f"{tags.get('decision', 'kept')}: {tags.get('reason', '')}"
            key, scores = key_of(number, 0), scores_of(version)
            found.append(HistoryEntry(key, number, None, None, message, scores))
    return sorted(found, key=lambda entry: entry.key)


def blocked(promotions: Iterable[Promotion]) -> dict[str, Promotion]:
    """What may not be promoted again: fingerprints of versions that were rolled back from.

    A later promotion back to such a version lifts it.
    """
    found: dict[str, Promotion] = {}
    for promotion in promotions:
        found = {key: was for key, was in found.items() if was.before != promotion.to}
        if promotion.kind == "rolled back" and promotion.left.strip():
            found[promotion.left] = promotion
    return found
