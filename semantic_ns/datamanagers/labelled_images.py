"""What data managers of one labelled scene share: which labels training sees, and which images are scored."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import LabelSource, TrainingLabels
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.labels.taxonomy import Taxonomy

if not TYPE_CHECKING:
    _DataManager = object
else:
    from nerfstudio.data.datamanagers.base_datamanager import DataManager

    class _DataManager(DataManager):
        """What nerfstudio's data managers of rays and of whole images have in common."""

        train_dataparser_outputs: Any
        train_dataset: Any
        eval_dataset: Any
        dataset_type: Any

        def create_train_dataset(self) -> Any:
            """The training images."""

        def create_eval_dataset(self) -> Any:
            """The scored images."""


@dataclass
class LabelOptions:
    """Options of the labels; to be listed before the configuration of nerfstudio's data manager."""

    corruption: CorruptionConfig = field(default=CorruptionConfig())
    """Fewer or wrong labels for training, to see how well they are made good."""
    train_labels: str | None = None
    """Folder of label images that replace the scene's for training only, such as the predictions of a 2D network:
    its name beside the scene's label folder, or an absolute path."""
    starts_without_labels: tyro.conf.Suppress[bool] = False
    """Whether training sees no label until `set_training_labels` is called; not an option, but for the pipeline to
    say, which reveals labels in active learning."""
    taxonomy: tyro.conf.Suppress[str | None] = None
    """Classes in the place of the scene's, as `Taxonomy.to_json` gives them; not an option, but for sns-label to write
    into a run of its own, in which there may be more."""
    evaluate_on: Literal["test", "train"] = "test"
    """Poses that are rendered and scored, always against the scene's own labels."""


class LabelledImages(_DataManager):
    """Adds labels to a data manager of nerfstudio; to be listed before it as a base class."""

    config: Any
    """`LabelOptions` beside nerfstudio's."""
    training_labels: TrainingLabels
    """The one answer to what training sees of the labels of its images."""
    gives_training_labels = True
    """Whether there are `training_labels`."""

    def create_train_dataset(self) -> SemanticDataset:
        """The parent's, with labels to be seen as the options say or, where they are revealed later, without any."""
        if self.config.taxonomy is not None:
            self.train_dataparser_outputs.metadata[keys.TAXONOMY] = Taxonomy.from_json(self.config.taxonomy)
        dataset = super().create_train_dataset()
        source, data = LabelSource(self.config.train_labels, self.config.corruption), Path(self.config.dataparser.data)
        scene_folder = data if data.is_dir() else data.parent
        self.training_labels = TrainingLabels(dataset, source, scene_folder, self.config.starts_without_labels)
        return dataset

    def create_eval_dataset(self) -> SemanticDataset:
        """The parent's, or with `evaluate_on` train the training images with the scene's own labels."""
        if self.config.evaluate_on == "test":
            dataset = super().create_eval_dataset()
            if self.config.taxonomy is not None:
                dataset.metadata[keys.TAXONOMY] = Taxonomy.from_json(self.config.taxonomy)
            return dataset
        metadata = dict(self.train_dataparser_outputs.metadata)
        metadata[keys.SPLIT] = f"{metadata[keys.SPLIT]}; but here the training frames are scored"
        outputs = replace(self.train_dataparser_outputs, metadata=metadata)
        return self.dataset_type(dataparser_outputs=outputs, scale_factor=self.config.camera_res_scale_factor)
