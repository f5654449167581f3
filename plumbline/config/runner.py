"""The configuration's keys about where per-file work and a sweep's trials run."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from plumbline.config.section import Name, Section, disagreement

ADDRESS = re.compile(r"(ray://)?[^\s:/]+:\d{1,5}")
Runner = Annotated[
    Literal["threads", "ray"],
    Field(
        description="what per-file work and trials run on; ray: make install GROUPS=cluster once"
    ),
]


class Ray(Section):
    """The cluster that `runner: ray` uses."""

    address: Name | None = Field(
        None,
        description="host:port or ray://host:port of a running cluster; null: one on this "
        "machine, for the length of the command",
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Ray":
        if self.address is not None and not ADDRESS.fullmatch(self.address):
            allowed = "null, host:port or ray://host:port of a running Ray cluster"
            raise disagreement("ray.address", allowed, self.address)
        return self

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of a given cluster."""
        host, port = self.address.removeprefix("ray://").rsplit(":", 1)
        return host, int(port)


class RunsOn(Section):
    """What says where a command's work runs, without the rest of its configuration."""

    runner: Runner = "threads"
    ray: Ray = Ray()

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "RunsOn":
        """The keys of a configuration that is not checked as a whole."""
        return cls.model_validate({key: raw[key] for key in cls.model_fields if key in raw})
