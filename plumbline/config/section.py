"""The building blocks of the schema: a strict section, and constrained types."""

import ast
import inspect
import sys
from functools import lru_cache
from itertools import pairwise
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

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The JSON schema, with the texts below the keys as their descriptions.

        They are read only now, because pydantic's use_attribute_docstrings would read them whenever
        a section is imported, and imports are to be fast.
        """
        found = handler(schema)
        keys = handler.resolve_ref_schema(found)["properties"]
        for base in reversed(cls.__mro__):
            if issubclass(base, Section):
                for key, text in _texts_of(base.__module__).get(base.__name__, {}).items():
                    keys[key]["description"] = text
        return found


@lru_cache
def _texts_of(module: str) -> dict[str, dict[str, str]]:
    """The texts below the keys of a module's classes, by class and key, each on one line."""
    found: dict[str, dict[str, str]] = {}
    parsed = ast.parse(inspect.getsource(sys.modules[module]))
    for section in (node for node in parsed.body if isinstance(node, ast.ClassDef)):
        for pair in pairwise(section.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(key)), ast.Expr(ast.Constant(str(text))):
                    found.setdefault(section.name, {})[key] = " ".join(text.split())
    return found
