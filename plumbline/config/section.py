"""The building blocks of the schema: a strict section, and constrained types."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler

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


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, types strict, numbers finite.

    The text below a key describes it.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The JSON schema, with every key's description on one line."""
        found = handler(schema)
        for key in handler.resolve_ref_schema(found)["properties"].values():
            if "description" in key:
                key["description"] = " ".join(key["description"].split())
        return found
