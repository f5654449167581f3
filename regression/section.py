"""What every part of the configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys refused, types strict, values finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def disagreement(*parts: object) -> ValueError:
    """An error between keys: the keys, what is allowed, what was found."""
    return ValueError(*map(str, parts))
