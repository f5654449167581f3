"""The Ray cluster that this process is connected to, if there is one."""

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plumbline.threads import OfPart

FOLDER = "PLUMBLINE_FOLDER"  # the environment variable that tells workers the working directory


def begin() -> None:
    """Set up a new worker process of a cluster: change to the command's working directory."""
    with suppress(OSError):  # on a machine without that folder, data.path must be absolute
        os.chdir(os.environ[FOLDER])


def connected() -> bool:
    """Whether this process is connected to a Ray cluster, on which tasks then run."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def cores() -> int:
    """The number of CPU cores of the cluster, or of this machine."""
    if not connected():
        return os.cpu_count() or 1
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def map_parts(function: "OfPart", parts: Sequence[str]) -> Iterator[Any]:
    """Apply a function to parts on the cluster or in threads; yield the results in their order.

    Raises:
        OSError: the cluster lost work that it could not repeat. Also what the function raises.
    """
    if not connected():
        from plumbline.threads import in_threads  # commands start without torch

        yield from in_threads(function, parts)
        return
    import ray

    @ray.remote
    def of_part(function: "OfPart", part: str) -> Any:
        return function(part)

    stored = ray.put(function)
    under_way = deque(of_part.remote(stored, part) for part in parts)
    with clear_errors():
        while under_way:
            try:
                yield ray.get(under_way.popleft())
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn a failure of the cluster itself into an OSError of one line.

    Raises:
        OSError: a worker ran out of memory or died too often.
    """
    if not connected():
        yield
        return
    from ray.exceptions import OutOfMemoryError, RayError

    try:
        yield
    except SystemError as error:  # what a signal's handler raised while Ray's extension waited
        raise error.__cause__ or error from None
    except OutOfMemoryError:
        raise OSError(
            "a Ray worker ran out of memory repeatedly and was stopped. Start the cluster with "
            "fewer workers per machine (ray start --num-cpus) or more memory, then run the same "
            "command again: it continues with the files that are not done."
        ) from None
    except RayError as error:
        first = next(iter(str(error).splitlines()), "")
        raise OSError(
            f"the Ray cluster lost work and could not repeat it ({type(error).__name__}: {first}). "
            "Check its machines with `ray status`, then run the same command again: it continues "
            "with the files that are not done."
        ) from None
