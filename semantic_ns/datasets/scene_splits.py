"""The splits of a scene that hold different frames."""

from dataclasses import dataclass

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError


@dataclass(frozen=True, eq=False)
class Split:
    """The frames of a split.

    Attributes:
        dataset: its images.
        outputs: the parsed scene, which says how its world was moved and scaled.
    """

    dataset: SemanticDataset
    outputs: DataparserOutputs


def read_splits(parser: DataParser, kind: type[SemanticDataset] = SemanticDataset) -> dict[str, Split]:
    """The splits `train` and `val` of a scene, and `test` where it has other images than `val`.

    Args:
        parser: the dataparser of the scene.
        kind: what its images are read by.

    Raises:
        SceneError: if the scene cannot be used.
    """
    splits = {name: _read(parser, name, kind) for name in ("train", "val")}
    try:
        test = _read(parser, "test", kind)
    except SceneError:  # the scene was read already: its list of test images is empty, and training reads none of them
        return splits
    if test.dataset.image_filenames != splits["val"].dataset.image_filenames:
        splits["test"] = test
    return splits


def _read(parser: DataParser, name: str, kind: type[SemanticDataset]) -> Split:
    outputs = parser.get_dataparser_outputs(name)
    return Split(kind(outputs), outputs)
