"""The JSON Schema of configurations, with which editors complete and check them."""

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from plumbline.config.schema import Config
from plumbline.config.sweep import Search

BASE = "the file of an experiment, relative to this file; the other keys here replace its keys"


def as_json_schema() -> dict[str, Any]:
    """Return one schema for both kinds of file: an experiment, and a sweep (with section `sweep`).

    It leaves out the rules between keys (docs/configuration.md lists them). Next to a sweep's base
    it checks only the names of sections, because they need not be complete.
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
