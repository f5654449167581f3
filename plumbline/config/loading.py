"""Read a configuration: YAML, overrides, and errors that name the key."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from plumbline.config.reference import allowed, find, known_keys, options
from plumbline.config.schema import Config
from plumbline.errors import InputError, nearest, refuse

Schema = TypeVar("Schema", bound=BaseModel)
TYPO = 0.7  # least ratio of difflib for a typo; "options" is not one of "optimizer"
FEW = 4  # a hint lists the sections that have a key only if they are fewer than this


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no annotations
    """A YAML loader without four traps.

    A duplicate key is refused, the key `on` is text, 1e-3 is a number, and an integer beyond 64
    bits becomes a float, infinite if it is too large for one.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int | float:
        try:
            number = super().construct_yaml_int(node)
            return number if -(2**63) <= number < 2**63 else float(number)
        except (ValueError, OverflowError):  # thousands of digits
            return math.inf

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":  # the key `on`, a boolean in YAML 1.1
                key.tag = "tag:yaml.org,2002:str"
        merge = "tag:yaml.org,2002:merge"
        keys = [self.construct_object(k, deep=True) for k, _ in node.value if k.tag != merge]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{min(twice)}' appears twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
# YAML 1.1 requires a dot and a signed exponent, but people write 1e-3.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read one experiment.

    Args:
        path: the YAML file.
        overrides: `section.key=value` strings, applied in order; values are read as YAML.

    Raises:
        InputError: the file is not readable or not YAML, or a key is unknown, missing, of the
            wrong type or out of range.
    """
    if isinstance(overrides, str):
        raise refuse("overrides", "a list of texts key=value, even for one", overrides)
    raw = read_yaml(path)
    for override in overrides:
        apply(raw, override)
    return validated(raw, str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file. Raises InputError if it cannot be read or holds none."""
    try:
        text = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        said = getattr(error, "strerror", error)
        raise InputError(f"{path}: cannot be read ({said}). Give a YAML file.") from None
    raw = _parsed(text, str(path))
    if not isinstance(raw, dict):
        raise InputError(
            f"{path}: must hold a mapping of keys to values. Got {type(raw).__name__} instead."
        )
    return raw


def validated(
    raw: Any,
    source: str,
    schema: type[Schema] = Config,  # type: ignore[assignment]
) -> Schema:
    """Check a mapping against the schema.

    Raises:
        InputError: a value is wrong; the message names the first error and counts the others.
    """
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        unknown_first = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        lines = list(dict.fromkeys(_line(item, schema) for item in unknown_first))
        more = len(lines) - 1
        counted = f" ({more} more error{'s' if more > 1 else ''})" if more else ""
        raise InputError(f"{source}: {lines[0]}{counted}") from None


def apply(raw: dict[str, Any], override: str) -> None:
    """Apply one `section.key=value` override to a mapping, in place.

    Raises:
        InputError: it has another form, its value is not YAML, or a section is not a mapping.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise refuse("an override", "written key=value", override)
    try:
        value = _parsed(text, key)
    except InputError as error:
        cut = f" A value with spaces needs quotes of its own: SET=\"'{key}=[1, 2]'\"."
        raise InputError(f"{error}.{cut}" if text[:1] in ("[", "{") else str(error)) from None
    put(raw, key, value)


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in place. Raises InputError if one of its sections is not a mapping."""
    *sections, last = _parts(key)
    for name in sections:
        if raw.get(name) is None:
            raw[name] = {}
        raw = raw[name]
        if not isinstance(raw, dict):
            raise refuse(key, "a key inside a section", raw)
    raw[last] = value


def _parsed(text: str | bytes, what: str) -> Any:
    try:
        value = yaml.load(text, Loader)
        json.dumps(value, default=str, skipkeys=True)  # refuses an alias to a node that contains it
        return value
    except Exception as error:  # PyYAML raises any type for a value that does not fit its tag
        raise InputError(f"{what}: is not valid YAML: {_where(error)}") from None


def _parts(key: str) -> list[str]:
    """A key's sections and its last part; a key that a sweep varies is one part, with its dots."""
    varied = "sweep.parameters."
    if key.startswith(varied):
        return ["sweep", "parameters", key.removeprefix(varied)]
    return key.split(".")


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return place + (getattr(error, "problem", None) or str(error))


def _line(item: Mapping[str, Any], schema: type[BaseModel]) -> str:
    """The message for one of pydantic's errors: the key, what is allowed and what was found."""
    kind, loc = item["type"], item["loc"]
    if kind == "extra_forbidden":
        section, _ = find(schema, loc[:-1])
        key = f"{section}.{loc[-1]}" if section else loc[-1]
        return f"{key} is not a known key.{hint(key, schema)}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    key, node = find(schema, loc)
    if kind.startswith("union_tag"):
        tags = [option["properties"]["kind"] for option in options(node)]
        key, node = f"{key}.kind", {"anyOf": tags}
    if kind in ("missing", "union_tag_not_found"):
        return f"{key} is missing. It must be {allowed(node)}."
    found = item["ctx"]["tag"] if kind == "union_tag_invalid" else item["input"]
    return str(refuse(key, allowed(node), found))


def known_paths(schema: type[BaseModel]) -> set[str]:
    """Every dotted key of a schema, and every section."""
    return {key[: dot.start()] for key in known_keys(schema) for dot in re.finditer(r"\.|$", key)}


def hint(key: str, schema: type[BaseModel]) -> str:
    """Suggest a key for an unknown one: a similar one in its section, or its name in another."""
    keys, paths = known_keys(schema), known_paths(schema)
    section, _, last = key.rpartition(".")
    if key in paths:
        return f" It belongs to another kind of {section}."
    start = f"{section}." if section else ""
    here = {
        each.removeprefix(start).partition(".")[0]: None for each in keys if each.startswith(start)
    }
    if close := nearest(last, here, TYPO):
        return f" Did you mean {start}{close}?"
    elsewhere = sorted(path for path in paths if path.rpartition(".")[2] == last)
    if 0 < len(elsewhere) < FEW:
        return f" Did you mean {' or '.join(elsewhere)}?"
    return f" Known here: {', '.join(start + each for each in here or keys)}."
