"""What the schema says of each key, in words: for --help, docs/configuration.md and errors."""

import json
from collections.abc import Iterator
from textwrap import wrap
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

KINDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    Any: "any value",
}


def known_keys(schema: type[BaseModel], prefix: str = "") -> dict[str, list[FieldInfo]]:
    """Every dotted key of a schema, in its order, with its field in each variant of its section."""
    keys: dict[str, list[FieldInfo]] = {}
    for name, field in schema.model_fields.items():
        models = _models(field.annotation)
        for model in models:
            for key, fields in known_keys(model, f"{prefix}{name}.").items():
                keys.setdefault(key, []).extend(fields)
        if not models:
            keys.setdefault(prefix + name, []).append(field)
    return keys


def field_at(schema: type[BaseModel], loc: tuple) -> tuple[str, FieldInfo | None]:
    """The dotted key and the field that a location in a pydantic error points at.

    A location also holds the tags of unions; those that are no key are left out, and list
    positions are written `[0]`.
    """
    key, field, models, mapped = "", None, [schema], None
    for part in loc:
        if isinstance(part, int):
            key += f"[{part}]"
            continue
        owner = next((m for m in models if part in m.model_fields), None)
        if owner is not None:
            field = owner.model_fields[part]
            models, mapped = _models(field.annotation), _mapped(field.annotation)
            key += f".{part}" if key else part
        elif mapped is not None:
            key, field = f"{key}.{part}", FieldInfo.from_annotation(mapped)
            models, mapped = _models(mapped), None
        elif part == loc[-1] and models and "[" not in part:  # "list[any]" is a union's tag
            key, field = (f"{key}.{part}" if key else part), None
    return key, field


def allowed(field: FieldInfo | None) -> str:
    """What a key may hold, as a phrase that follows "must be"."""
    if field is None or _is_section(field.annotation):
        return "a section of keys"
    pattern = next((m.pattern for m in field.metadata if getattr(m, "pattern", None)), None)
    if pattern:
        return "one of " + field.description.split(";")[0]
    return _phrase(field.annotation, field.metadata)


def lines(schema: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """(key, what is allowed, default, meaning) for every key, and for every variant of it."""
    for key, fields in known_keys(schema).items():
        variants = {(allowed(field), _default(field), field.description or "") for field in fields}
        for variant in sorted(variants, key=str):
            yield key, *variant


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
    rows = ["| key | what it may hold | default | meaning |", "|---|---|---|---|"]
    escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines(schema))
    rows += [f"| {' | '.join(cells)} |" for cells in escaped]
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else _yaml(field.default)


def _literal(value: Any) -> str:
    """A word as it is, and punctuation in quotes."""
    word = not isinstance(value, str) or value.isidentifier()
    return _yaml(value) if word else json.dumps(value)


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _is_section(annotation: Any) -> bool:
    """Whether a key holds other keys and nothing else."""
    union = get_origin(annotation) in (Union, UnionType, Annotated)
    parts = get_args(annotation) if union else (annotation,)
    return all(_models(part) for part in parts if isinstance(part, type) or get_origin(part))


def _mapped(annotation: Any) -> Any:
    """What a mapping of names to something holds; None for anything else."""
    if get_origin(annotation) is Annotated:
        return _mapped(get_args(annotation)[0])
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def _phrase(annotation: Any, metadata: list | tuple = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        extra = [m for info in parts[1:] for m in getattr(info, "metadata", [info])]
        return _phrase(parts[0], [*extra, *metadata])
    if origin is Literal:
        return " or ".join(_literal(value) for value in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_phrase(part, metadata) for part in parts))
    if annotation in (None, NoneType):
        return "null"
    if origin is list:
        return f"a list{_length(metadata)} of ({_phrase(parts[0])})"
    if origin is dict:
        return f"a mapping{_length(metadata)} of {_phrase(parts[0])} to ({_phrase(parts[1])})"
    if models := _models(annotation):
        return " or ".join(f"{{{', '.join(model.model_fields)}}}" for model in models)
    return KINDS.get(annotation, str(annotation)) + _bounds(metadata)


def _bounds(metadata: list | tuple) -> str:
    words = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
    found = [
        f"{sign} {getattr(m, name)}"
        for m in metadata
        for kind, (name, sign) in words.items()
        if isinstance(m, kind)
    ]
    if any(isinstance(m, MinLen) for m in metadata):
        found.append("not empty")
    found += [f"of at most {m.max_length} characters" for m in metadata if isinstance(m, MaxLen)]
    return (" " + " and ".join(found)) if found else ""


def _length(metadata: list | tuple) -> str:
    least = max((m.min_length for m in metadata if isinstance(m, MinLen)), default=0)
    most = min((m.max_length for m in metadata if isinstance(m, MaxLen)), default=None)
    if least and least == most:
        return f" of exactly {least}"
    return " (not empty)" if least == 1 else f" of at least {least}" if least else ""


def main() -> None:
    """Print docs/configuration.md."""
    from plumbline.config.schema import Config

    print(
        "# Configuration reference\n\n"
        "One YAML file is one experiment. This page is generated from the schema in "
        "`plumbline/config` (`make docs`);\n`python -m flows.pipeline --help` says the same. "
        "Any key can be replaced on the command line:\n"
        '`make run-pipeline SET="training.epochs=500 data.noise=0.1"`.\n\n'
        "Where a key stands twice, its section has two kinds and the key means something else in "
        "each.\n\n" + as_markdown(Config),
        end="",
    )


if __name__ == "__main__":
    main()
