"""The least an orchestrated job can cost: an empty flow on Prefect's ephemeral server."""

import mlflow  # noqa: F401
import torch  # noqa: F401
from prefect import flow


@flow
def empty() -> None:
    """Nothing."""


if __name__ == "__main__":
    empty()
