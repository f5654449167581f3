"""Describe each key of the schema in words, for --help, docs/configuration.md and errors.

The text comes from pydantic's JSON schema; a node is a part of it with references resolved.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

from plumbline.config.combinations import RULES
from plumbline.config.schema import Config
from plumbline.config.training import OF_CLASSES, OF_MLP, defaults_of

Node = Mapping[str, Any]
KINDS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    None: "text (a date in quotes), a number, true, false, null, a list or a mapping of these",
}
SIGNS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@lru_cache
def known_keys(schema: type[BaseModel]) -> dict[str, list[Node]]:
    """Every dotted key of a schema, in order, with its node in each variant of its section."""
    return _keys(_described(schema), "")


def find(schema: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[str, Node]:
    """The dotted key and the node that a location in a pydantic error points to.

    The tags of unions in a location are not keys and are left out; list positions are written
    `[0]`.
    """
    key, node = "", _described(schema)
    for part in loc:
        if isinstance(part, int):
            key += f"[{part}]"
            found = [option["items"] for option in options(node) if "items" in option]
        else:
            found = _children(node, part)
            key += (f".{part}" if key else part) if found else ""
            found = found or [o for o in options(node) if _kind(o) == part]
        if found:
            node = {"anyOf": found} if len(found) > 1 else found[0]
    return key, node


def options(node: Node) -> list[Node]:
    """The members of a union, nested ones included; for any other node, the node itself."""
    parts = node.get("anyOf") or node.get("oneOf")
    return [option for part in parts for option in options(part)] if parts else [node]


def allowed(node: Node) -> str:
    """The allowed values of a key, as a phrase that follows "must be"."""
    if all("properties" in option for option in options(node) if option.get("type") != "null"):
        return "a section of keys"
    if "pattern" in node:
        return "one of " + node["description"].split(";")[0]
    return _phrase(node)


def lines(schema: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, allowed values, default, meaning) for every variant of every key."""
    for key, nodes in known_keys(schema).items():
        variants = {(allowed(n), _default(n), n.get("description", "")) for n in nodes}
        for variant in sorted(variants):
            yield key, *variant


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, which ends with a newline."""
    written = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *written]) + "\n"


def as_text(schema: type[BaseModel], width: int = 92) -> str:
    """The reference for a terminal."""
    text = []
    for key, what, default, meaning in lines(schema):
        head = f"  {key}: {what}; {'' if default == 'required' else 'default '}{default}"
        text += wrap(head, width, subsequent_indent="      ")
        text += wrap(meaning, width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(text)


def as_markdown(schema: type[BaseModel]) -> str:
    """The reference as one table."""
    escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines(schema))
    return markdown_table(("key", "allowed", "default", "meaning"), escaped)


def number_types(key: str) -> set[str]:
    """The JSON types of the numbers that a key takes: "integer", "number"; not those in a list."""
    nodes = known_keys(Config).get(key, ())
    return {option["type"] for node in nodes for option in options(node)} & {"integer", "number"}


def is_whole(key: str) -> bool:
    """Whether a key takes integers only."""
    return "number" not in number_types(key)


@lru_cache
def _described(schema: type[BaseModel]) -> Node:
    whole = schema.model_json_schema()
    return _resolved(whole, whole.get("$defs", {}))


def _resolved(node: Any, definitions: Node) -> Any:
    """A node with its references replaced by their definitions."""
    if isinstance(node, list):
        return [_resolved(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**definitions[node["$ref"].rpartition("/")[2]], **node}
    if node.get("additionalProperties") is True:  # values of any type
        node = {**node, "additionalProperties": {}}
    left_out = ("$ref", "$defs")
    return {k: _resolved(v, definitions) for k, v in node.items() if k not in left_out}


def _keys(node: Node, prefix: str) -> dict[str, list[Node]]:
    keys: dict[str, list[Node]] = {}
    for option in options(node):
        for name, child in option.get("properties", {}).items():
            inner = _keys(child, f"{prefix}{name}.") or {prefix + name: [child]}
            for key, nodes in inner.items():
                keys.setdefault(key, []).extend(nodes)
    return keys


def _children(node: Node, name: str) -> list[Node]:
    """The nodes of a name in a section or in a mapping with free names; empty if there are none."""
    sections = [option.get("properties", {}) for option in options(node)]
    found = [section[name] for section in sections if name in section]
    free = node.get("additionalProperties", False)
    return found or ([] if free is False else [free])


def _kind(node: Node) -> str | None:
    """The `kind` of a section that has several; None for other nodes."""
    return node.get("properties", {}).get("kind", {}).get("const")


def _default(node: Node) -> str:
    return _yaml(node["default"]) if "default" in node else "required"


def _yaml(value: Any) -> str:
    """A word unchanged, anything else as JSON."""
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)


def _phrase(node: Node) -> str:
    kind = node.get("type")
    if len(parts := options(node)) > 1:
        return " or ".join(dict.fromkeys(map(_phrase, parts)))
    if "enum" in node or "const" in node:
        return " or ".join(map(_yaml, node.get("enum") or [node["const"]]))
    if kind == "array":
        return f"{_sized('list', node, 'Items')} of ({_phrase(node['items'])})"
    if "properties" in node:
        return f"{{{', '.join(node['properties'])}}}"
    if kind == "object":
        name = _phrase({"type": "string", **node.get("propertyNames", {})})
        value = _phrase(node["additionalProperties"])
        return f"{_sized('mapping', node, 'Properties')} of {name} to ({value})"
    if kind == "string":
        most = f" of at most {node['maxLength']} characters" if "maxLength" in node else ""
        return ("non-empty text" if "minLength" in node else "text") + most
    bounds = " and ".join(f"{sign} {node[name]}" for name, sign in SIGNS.items() if name in node)
    return f"{KINDS[kind]} {bounds}".rstrip()


def _sized(noun: str, node: Node, of: str) -> str:
    """A list or a mapping with the limits of its length."""
    least, most = node.get(f"min{of}", 0), node.get(f"max{of}")
    if least == 1 != most:
        return f"a non-empty {noun}"
    exactly = f" of exactly {least}" if least == most else f" of at least {least}"
    return f"a {noun}{exactly if least else ''}"


def defaults_as_markdown() -> str:
    """The defaults of training as a table with a column for each kind of model."""

    def cell(kind: str, key: str) -> str:
        classes = OF_CLASSES.get(kind, {}).get(key)
        return _yaml(defaults_of(kind)[key]) + (f"; classes: {classes}" if classes else "")

    kinds = ("linear", "python", "mlp")
    rows = [(f"training.{key}", *(cell(kind, key) for kind in kinds)) for key in OF_MLP]
    return markdown_table(("key", *kinds), rows)


def rules_as_markdown() -> str:
    """The rules of combinations.py as a table."""
    rows = [(rule.key, rule.allowed_text, rule.condition, rule.why) for rule in RULES]
    return markdown_table(("key", "must be", "if", "because"), rows)


if __name__ == "__main__":  # print docs/configuration.md
    print(
        "# Configuration reference\n\n"
        "One YAML file is one experiment. This page is generated from the schema in "
        "`plumbline/config` (`make docs`);\n"
        "`.venv/bin/python -m flows.pipeline --help` shows the same. "
        "Any key can be replaced on the command line:\n"
        '`make run-pipeline SET="training.epochs=500 data.noise=0.1"`.\n\n'
        "An editor with a YAML language server completes and checks keys with "
        "[configuration.schema.json](configuration.schema.json),\nwhich the first line of each "
        "file in `configs/` names.\n\n"
        "## Keys\n\n"
        "A key is listed twice if its meaning depends on the kind of its section.\n\n"
        + as_markdown(Config)
        + "\n"
        "## Defaults by kind of model\n\nThe value of a key that is left out or null.\n\n"
        + defaults_as_markdown()
        + "\n## Keys that depend on each other\n\n"
        + rules_as_markdown(),
        end="",
    )
