"""Features of single frames that are made once, as long as weights stay as they are."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Features = TypeVar("_Features")


class KeptFeatures(Generic[_Key, _Features]):
    """What a network makes of single frames, kept while its weights stay as they are.

    Args:
        num_kept: number of frames; those kept longest go if there are more.
    """

    def __init__(self, num_kept: int = 64) -> None:
        self._num_kept = num_kept
        self._kept: OrderedDict[_Key, _Features] = OrderedDict()

    def forget(self) -> None:
        """Forget all."""
        self._kept.clear()

    def get(self, frame: _Key) -> _Features | None:
        """The features of a frame, if they are kept."""
        return self._kept.get(frame)

    def keep(self, frame: _Key, features: _Features) -> None:
        """Keep the features of a frame; the oldest ones go."""
        self._kept[frame] = features
        while len(self._kept) > self._num_kept:
            self._kept.popitem(last=False)
