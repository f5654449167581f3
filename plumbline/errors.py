"""The errors that users see: each message gives the symptom, likely cause and next step."""

import difflib
from collections.abc import Iterable

MOST_LISTED = 20  # names in a message


class InputError(ValueError):
    """The configuration or the data is wrong: one line with the place, what is allowed and found.

    Control characters are escaped, so that a terminal does not obey them. The error is never
    retried; a command that gets it ends with exit status 2.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


class TooManyLevelsError(InputError):
    """A pass found more levels in a column than data.max_levels.

    The levels to keep must be known before a pass, so they have to be counted first.

    Attributes:
        column: the name of the column.
    """

    def __init__(self, column: str) -> None:
        super().__init__(f"column '{column}' has more levels than data.max_levels.")
        self.column = column


class TrainingDivergedError(ArithmeticError):
    """The loss became infinite or NaN; training stopped at that epoch."""


class AllTrialsFailedError(RuntimeError):
    """A sweep ended and none of its trials has a result."""


def must_be(where: str, allowed: str, found: object, hint: str = "") -> InputError:
    """Make an InputError from the place, what it must be, what was found, and a hint.

    Example:
        >>> str(must_be("data.weight", "a column other than the target", "y"))
        'data.weight must be a column other than the target. Got y instead.'
    """
    return InputError(f"{where} must be {allowed}. Got {found} instead{hint}.")


def refuse(where: str, allowed: str, found: object) -> InputError:
    """Make the same error for a value, which is shown as Python writes it, shortened if it is long.

    Example:
        >>> str(refuse("training.epochs", "an integer >= 1", 0))
        'training.epochs must be an integer >= 1. Got 0 instead.'
    """
    shown = repr(found)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return must_be(where, allowed, shown)


def listed(names: Iterable[str]) -> str:
    """List names for a message, of many the first 20 and how many more there are.

    Example:
        >>> listed(["a", "b"]), listed([])
        ('a, b', 'none')
    """
    shown = [*names]
    more = f" and {len(shown) - MOST_LISTED:,} more" if len(shown) > MOST_LISTED else ""
    return (", ".join(shown[:MOST_LISTED]) or "none") + more


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name most similar to a name; None if none is similar enough."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)
