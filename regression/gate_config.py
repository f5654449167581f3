"""The configuration's sections about the registered model."""

from pydantic import Field

from regression.section import Name, Section


class Registry(Section):
    """The registered model that a run is for."""

    model: Name = Field(
        description="the registered model's name; one run of it at a time on one machine"
    )
