"""The building blocks of the schema: a strict section, and constrained types."""

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

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
# Null in the file means the default, which a resolved configuration holds instead.
if TYPE_CHECKING:
    NullIsDefault = Annotated[Item, "or null"]
else:
    NullIsDefault = Item | None


def without_auto(value: Item | Literal["auto"]) -> Item:
    """A value whose auto is resolved."""
    assert value != "auto"
    return value


def disagreement(*parts: object) -> InputError:
    """Make the error for one or more keys, given as (*keys, allowed, found)."""
    *keys, allowed, found = map(str, parts)
    return InputError(f"{' and '.join(keys)} must be {allowed}. Got {found} instead.")


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, types strict, numbers finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
