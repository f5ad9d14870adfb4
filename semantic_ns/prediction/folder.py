"""Writes the predictions of a network for every frame of a scene into a new folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from semantic_ns.errors import SceneError
from semantic_ns.io.orientation import to_stored
from semantic_ns.io.writing import making_folder, replacing, write_json, write_png
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.prediction.class_mapping import ClassMapping
from semantic_ns.prediction.inference import Inference, as_array, in_strips, predict
from semantic_ns.prediction.scene_frames import SceneFrame
from semantic_ns.prediction.segmenter import Segmenter

WRITTEN_BY = "sns-predict"
CLASSES_FILE = "classes.json"
PARAMETERS_FILE = "predictions.json"
PROBABILITIES = "probabilities"
COLORS = "color"


@dataclass(frozen=True)
class Prediction:
    """What is predicted, and what is written.

    Attributes:
        segmenter: the network.
        mapping: the classes that its channels mean.
        inference: how it is applied to an image.
        has_probabilities: whether probabilities are written beside the label images.
    """

    segmenter: Segmenter
    mapping: ClassMapping
    inference: Inference
    has_probabilities: bool = False

    def write(self, frames: Iterable[SceneFrame], folder: Path, sources: Mapping[str, Any]) -> list[float]:
        """Write `<name>.png` for each frame, its colours in `color/`, probabilities if asked for, and what they mean.

        The folder appears when all of it is written.

        Args:
            frames: the frames.
            folder: a new folder, or an empty one.
            sources: where this comes from, for the record.

        Returns:
            The share of void of each image.

        Raises:
            SceneError: if a frame is damaged, the network fails, or the folder cannot be written.
        """
        frames = list(frames)
        with making_folder(folder) as place:
            shares = [self._write_frame(frame, place) for frame in track(frames, "Predicting")]
            classes = self.mapping.written.to_json()
            write_json(place / CLASSES_FILE, {"written_by": WRITTEN_BY, **classes})
            names = [frame.name for frame in frames]
            write_json(place / PARAMETERS_FILE, {"written_by": WRITTEN_BY, **sources, "frames": names})
        return shares

    def _write_frame(self, frame: SceneFrame, folder: Path) -> float:
        try:
            labels, probabilities = self.of_frame(frame)
        except SceneError as error:
            raise SceneError(f"{str(error).removesuffix('.')} (at the frame {frame.image}).") from error
        written = self.mapping.written
        if probabilities is not None:
            ids = np.array([entry.id for entry in written.entries], np.int64)
            path = folder / PROBABILITIES / f"{frame.name}.npz"
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, probabilities=probabilities, ids=ids)
        write_png(folder / COLORS / f"{frame.name}.png", written.color_image(labels))
        write_png(folder / f"{frame.name}.png", written.label_image(labels))
        return float((labels == VOID).mean())

    def of_frame(self, frame: SceneFrame) -> tuple[np.ndarray, np.ndarray | None]:
        """Classes [H, W] of the stored pixels of a frame, -1 for void, and with them float16 probabilities [H, W, K].

        Raises:
            SceneError: see `predict`.
        """
        image, orientation = frame.upright()
        merged = self.mapping.merge(predict(self.segmenter, image, self.inference))
        labels, probabilities = [], []
        with torch.inference_mode():
            for strip in in_strips(merged, (image.shape[0], image.shape[1])):
                values = as_array(strip)
                labels.append(self.mapping.labels(values))
                if self.has_probabilities:
                    probabilities.append(self.mapping.distributions(values).astype(np.float16))
        stored = to_stored(np.concatenate(labels), orientation)
        if not self.has_probabilities:
            return stored, None
        upright = np.concatenate(probabilities)
        channels = [to_stored(upright[..., channel], orientation) for channel in range(upright.shape[-1])]
        return stored, np.stack(channels, axis=-1)
