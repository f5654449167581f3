"""How `champion` moved: an append-only list that the aliases follow.

A move is written in one call before an alias changes, so whatever is killed afterwards is carried
out later from the list. A promotion is written as the tags that its version is born with; a
rollback as a tag of the registered model, and a promotion as well once its version is deleted.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from mlflow.entities.model_registry import ModelVersion

from plumbline.config.metrics import COMPARABLE, current_name

PREFIX = "move."
DELETED = "deleted by hand"
LONGEST_REASON = 2_000  # of 5,000 characters that a tag of a registered model may have


@dataclass(frozen=True)
class Move:
    """`champion` went from one version to another.

    Attributes:
        key: where it stands in the list: the newest version at that time, then a number; sorts.
        at: when, in milliseconds since 1970.
        before: the champion until then; 0 where there was none.
        to: the champion from then on; 0 if there was none.
        kind: "promoted", "rolled back", "moved forward" (by make rollback, to a newer version),
            "moved by hand" (an alias set outside this project) or DELETED (the alias or its
            version).
        who: the user, or the run that promoted.
        reason: one sentence.
        scores: metric values of a promoted model.
        left: fingerprint of the version that was left, of its data and configuration; empty
            where it does not matter.
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
class Chapter:
    """A line of the history: a time that a version was live, or a version that never was.

    Attributes:
        key: sorts.
        version: its number; 0 for a time without a champion.
        since, until: in milliseconds since 1970; no `since`: it was not made champion; no `until`:
            it is live now.
        told: what happened, and why.
        scores: metric values on the held-out rows of its time.
    """

    key: str
    version: int
    since: int | None
    until: int | None
    told: str
    scores: dict[str, str]


def key_of(version: int, number: int) -> str:
    """The key of a move while `version` was the newest: 0 is its own promotion."""
    return f"{version:06}.{number:03}"


def fingerprint(tags: dict[str, str]) -> str:
    """What a version was made from: its data and its configuration."""
    return f"{tags.get('data_digest', '')} {tags.get('config_digest', '')}"


def scores_of(version: ModelVersion) -> dict[str, str]:
    """How a version scored on the held-out rows of its time."""
    tags = {current_name(name): value for name, value in version.tags.items()}
    return {name: tags[name] for name in COMPARABLE if name in tags}


def promotion_of(version: ModelVersion) -> Move:
    """The move that a promoted version's own tags tell of."""
    tags = version.tags
    return Move(
        key=key_of(int(version.version), 0),
        at=version.creation_timestamp,
        before=int(tags.get("champion_version", 0)),
        to=int(version.version),
        kind="promoted",
        who=f"run {version.run_id}",
        reason=tags.get("reason", "")[:LONGEST_REASON],
        scores=scores_of(version),
    )


def all_moves(model_tags: dict[str, str], versions: Iterable[ModelVersion]) -> list[Move]:
    """Every move, the oldest first."""
    promoted = (v for v in versions if v.tags.get("decision") == "promoted")
    found = {move.key: move for move in (promotion_of(v) for v in promoted)}
    written = (text for tag, text in model_tags.items() if tag.startswith(PREFIX))
    found |= {move.key: move for move in (Move(**json.loads(text)) for text in written)}
    return [found[key] for key in sorted(found)]


def chapters(moves: list[Move], versions: Iterable[ModelVersion]) -> list[Chapter]:
    """The history, the oldest first."""
    ends = [move.at for move in moves[1:]] + [None]
    found = [
        Chapter(m.key, m.to, m.at, end, f"{m.kind} by {m.who}: {m.reason}", m.scores)
        for m, end in zip(moves, ends, strict=True)
    ]
    for version in versions:
        if version.tags.get("decision") != "promoted":
            told = f"{version.tags.get('decision', 'kept')}: {version.tags.get('reason', '')}"
            key = key_of(int(version.version), 0)
            found.append(Chapter(key, int(version.version), None, None, told, scores_of(version)))
    return sorted(found, key=lambda chapter: chapter.key)


def barred(moves: Iterable[Move]) -> dict[str, Move]:
    """What may not be promoted again: fingerprints of versions that were rolled back from.

    A later move back to such a version lifts it.
    """
    found: dict[str, Move] = {}
    for move in moves:
        found = {key: was for key, was in found.items() if was.before != move.to}
        if move.kind == "rolled back" and move.left.strip():
            found[move.left] = move
    return found
