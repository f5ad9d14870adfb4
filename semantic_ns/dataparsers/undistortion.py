"""Scenes whose images are undistorted when they are read."""

from dataclasses import replace

from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.geometry.undistortion import can_be_undistorted, undistorted


def without_distortion(outputs: DataparserOutputs) -> DataparserOutputs:
    """The scene with pinhole cameras, and `DISTORTED_CAMERAS` in its metadata, by which `SemanticDataset` reads it.

    A scene whose cameras have no distortion, or a kind of it that cannot be undone, stays as it is.

    Raises:
        SceneError: if a distortion is too strong.
    """
    if not can_be_undistorted(outputs.cameras):
        return outputs
    metadata = outputs.metadata | {keys.DISTORTED_CAMERAS: outputs.cameras}
    return replace(outputs, cameras=undistorted(outputs.cameras), metadata=metadata)
