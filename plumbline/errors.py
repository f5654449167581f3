"""The errors a user can meet: each message says symptom, likely cause and next step."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The configuration or the data is wrong: one line with place, what is allowed, what was found.

    Characters that a terminal would obey are written as Python writes them.

    Never retried, and the command that meets it ends with exit status 2.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


class TooManyLevelsError(InputError):
    """A pass found more levels in a column than data.max_levels: which of them are kept must be
    known before.

    Attributes:
        column: its name.
    """

    def __init__(self, column: str) -> None:
        super().__init__(f"column '{column}' has more levels than data.max_levels.")
        self.column = column


class TrainingDivergedError(ArithmeticError):
    """The loss became infinite or NaN; training stopped at that epoch."""


class AllTrialsFailedError(RuntimeError):
    """A sweep ended without one trial that has a result."""


def refuse(where: str, allowed: str, found: object) -> InputError:
    """An InputError in the house's form: the place, what it must be, and what stood there.

    Example:
        >>> str(refuse("training.epochs", "an integer >= 1", 0))
        'training.epochs must be an integer >= 1. Got 0 instead.'
    """
    shown = repr(found)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InputError(f"{where} must be {allowed}. Got {shown} instead.")


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name that was probably meant; None if none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)
