"""What every part of the configuration is made of: a strict section, and ranges of numbers."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from plumbline.errors import InputError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1)]
Item = TypeVar("Item")
NotEmpty = Annotated[list[Item], Field(min_length=1)]


def disagreement(*parts: object) -> InputError:
    """An error between keys: the keys, what is allowed, what was found."""
    *keys, allowed, found = map(str, parts)
    return InputError(f"{' and '.join(keys)} must be {allowed}. Got {found} instead.")


class Section(BaseModel):
    """A part of the configuration: unknown keys refused, types strict, values finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
