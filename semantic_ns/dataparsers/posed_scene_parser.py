"""What the dataparsers of posed scenes share: the scene is read once, and every split is taken from it."""

from abc import abstractmethod
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from semantic_ns.dataparsers.posed_scene import PosedScene


class PosedSceneParser(DataParser):
    """Base of the dataparsers whose scene is a :class:`PosedScene`; they only say how to read it."""

    def __init__(self, config: DataParserConfig) -> None:
        super().__init__(config)
        self._scene: PosedScene | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        del kwargs
        if self._scene is None:
            self._scene = self._load()
        return self._scene.outputs(split)

    @abstractmethod
    def _load(self) -> PosedScene:
        """Read the scene.

        Raises:
            SceneError: it cannot be used.
        """
