"""Too little memory for Gaussians or images, in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from semantic_ns.errors import SceneError

_TOO_LITTLE = re.compile("allocate memory|not enough memory|out of memory")
"""What torch says in a RuntimeError, of a CPU and of CUDA."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation has failed, on a CPU or on CUDA."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_TOO_LITTLE.search(str(error))))


@contextmanager
def memory_errors_as_scene_error(purpose: str) -> Iterator[None]:
    """Within it, an allocation that fails is one sentence.

    Args:
        purpose: what the memory is for.

    Raises:
        SceneError: an allocation has failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SceneError(
            f"Expected enough memory for {purpose}, found too little ({reason}); give fewer or smaller images, a file "
            "of fewer Gaussians, or a machine with more memory."
        ) from error
