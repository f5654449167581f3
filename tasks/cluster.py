"""The Ray cluster that this process is connected to, where there is one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def connected() -> bool:
    """Whether tasks run on a Ray cluster."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def cores() -> int:
    """How many tasks run side by side."""
    if not connected():
        return os.cpu_count() or 1
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def clear_errors() -> Iterator[None]:
    """Say in one line what it means when the cluster itself fails.

    Raises:
        OSError: a worker ran out of memory or died, too often to go on.
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
            "a Ray worker ran out of memory and was stopped, again and again. Start the cluster "
            "with fewer workers a machine (ray start --num-cpus), or with more memory. The same "
            "command goes on with the files that are not done."
        ) from None
    except RayError as error:
        first = next(iter(str(error).splitlines()), "")
        raise OSError(
            f"the Ray cluster lost work and could not repeat it ({type(error).__name__}: {first}). "
            "Look at its machines with `ray status`. The same command goes on with the files that "
            "are not done."
        ) from None
