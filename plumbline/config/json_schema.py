"""The JSON Schema of configurations, which editors complete and check them by."""

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from plumbline.config.schema import Config
from plumbline.config.sweep import Search

BASE = "the file of an experiment, relative to this one; what stands beside it replaces its keys"


def as_json_schema() -> dict[str, Any]:
    """One schema for both kinds of file: an experiment, and one with the section `sweep`.

    What depends on another key (docs/configuration.md lists it) is not in it. Of a sweep's base,
    and of what is beside it, only the names are: it need not be whole.
    """
    _, whole = models_json_schema([(Config, "validation"), (Search, "validation")])
    definitions = whole["$defs"]
    sweep = {
        "properties": {
            **dict.fromkeys(definitions["Config"]["properties"], True),
            "base": {"type": "string", "description": BASE},
            "sweep": {"$ref": "#/$defs/Search"},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Plumbline: one experiment, or a sweep of one",
        "type": "object",
        "if": {"required": ["sweep"]},
        "then": sweep,
        "else": {"$ref": "#/$defs/Config"},
        "$defs": definitions,
    }


if __name__ == "__main__":
    print(json.dumps(as_json_schema(), indent=1))
