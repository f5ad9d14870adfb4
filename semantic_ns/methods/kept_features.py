"""Features of single frames that are made once, as long as weights stay as they are."""

from collections import OrderedDict
from typing import Generic, TypeVar

_NUM_KEPT = 64
_Features = TypeVar("_Features")


class KeptFeatures(Generic[_Features]):
    """What a network makes of single frames, kept while its weights stay as they are."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int | None, int], _Features] = OrderedDict()

    def forget(self) -> None:
        """Forget all."""
        self._kept.clear()

    def get(self, scene: int | None, frame: int) -> _Features | None:
        """The features of a frame, if they are kept."""
        return self._kept.get((scene, frame))

    def keep(self, scene: int | None, frame: int, features: _Features) -> None:
        """Keep the features of a frame; the oldest ones go."""
        self._kept[scene, frame] = features
        while len(self._kept) > _NUM_KEPT:
            self._kept.popitem(last=False)
