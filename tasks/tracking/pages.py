"""What MLflow hands out a page at a time, as one sequence."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from mlflow.store.entities import PagedList

Entity = TypeVar("Entity")


def every(search: Callable[[str | None], PagedList[Entity]]) -> Iterator[Entity]:
    """All that a search finds; the next page is asked for when the last one is used up.

    Args:
        search: a page by its token; None is the first page.
    """
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
