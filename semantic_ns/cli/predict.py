"""`sns-predict`: label images that a 2D segmentation network predicts for every frame of a scene."""

import math
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.prediction.class_mapping import ClassMapping
    from semantic_ns.prediction.inference import Inference
    from semantic_ns.prediction.scene_frames import SceneFrames
    from semantic_ns.prediction.segmenter import Segmenter

_AS_ITS_OWN = "takes these label images as its own"


@dataclass
class Predict:
    """Predict the classes of every pixel of a scene's frames with a 2D segmentation network.

    Frames are those of its training and test splits, and of its validation split where it has one of its own.

    The network is a folder of Hugging Face transformers (semantic or universal segmentation), an ONNX file, or a file
    of weights of torchvision. Nothing is downloaded, and no code that comes with a network is run.
    """

    scene: Annotated[Path, tyro.conf.Positional]
    """Folder of the scene, in any layout that semantic-data reads. It needs no labels."""
    model: Path
    """The network: a folder with config.json and model.safetensors, an .onnx file, or a .pth file of torchvision."""
    output_dir: Path
    """New folder outside the scene, for a label image of each frame, their colours and classes.json."""
    classes: Path | None = None
    """Class list of the network in the order of its channels (.txt with a name in each line, .csv or .json), where the
    network does not bring it, or in its place."""
    classes_of: str = "scene"
    """Classes that are written: the scene's (scene), the network's own (model), a label space (nyu40, nyu13, scannet20,
    viewseg37), or those of a class table (.csv or .json). Classes meet by name; in a .csv table the column from gives
    further names of the network, parted by |. What has no counterpart becomes void."""
    probabilities: bool = False
    """Also write class probabilities, into the folder probabilities, for sns-fuse-labels. They take much disk."""
    architecture: str | None = None
    """Name of torchvision's network, such as deeplabv3_resnet50, where the name of the file does not begin with it."""
    size: tuple[int, ...] = ()
    """Size at which the network sees images: the length of the shorter side, or height and width. By default what the
    network's preprocessor_config.json says, else the images' own, and with --tile in any case the images' own."""
    tile: int | None = None
    """Side of square tiles in which the network sees images of their own size, or of that of --size; by default it sees
    the whole image at once."""
    overlap: int = 64
    """Pixels that neighbouring tiles share."""
    flip: bool = False
    """Average with the prediction for the mirrored image, in twice the time."""
    divisor: int | None = None
    """Pad images to multiples of this number, for networks that halve them several times (32 for most)."""
    mean: tuple[float, float, float] | None = None
    """Mean of red, green and blue, in 0..1, by which the network's images are normalised. By default that of
    preprocessor_config.json, else ImageNet's."""
    std: tuple[float, float, float] | None = None
    """Their standard deviation, likewise."""
    sequence: str | None = None
    """Sequence of the scene, where it has several (Replica); by default the first one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where PyTorch runs the network; auto takes CUDA if there is any. ONNX files run on the CPU."""

    def main(self) -> None:
        """Check, load the network, read the scene, predict and write."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.io.writing import refuse_inside
        from semantic_ns.prediction.folder import Prediction
        from semantic_ns.prediction.inference import Inference, fit_to
        from semantic_ns.prediction.models import load_segmenter
        from semantic_ns.prediction.scene_frames import read_frames

        inference = Inference(self.tile, self.overlap if self.tile else 0, self.flip)
        segmenter = self._with_options(load_segmenter(self.model, self.architecture, self._device()))
        fit_to(segmenter, inference)
        scene = read_frames(self.scene, self.sequence)
        refuse_inside(self.output_dir, scene.inputs, "--output-dir")
        mapping = self._mapping(segmenter, scene)
        console = Console(soft_wrap=True, highlight=False, markup=False)
        target = f"the scene {self.scene}" if self.classes_of == "scene" else self.classes_of
        for note in (*(f"{note[0].upper()}{note[1:]}." for note in segmenter.notes), *mapping.sentences(target)):
            console.print(note)
        prediction = Prediction(segmenter, mapping, inference, self.probabilities)
        shares = prediction.write(scene.frames, self.output_dir, self._sources(segmenter, mapping, inference))
        console.print("\n".join(report(self, shares, scene.has_labels, scene.has_class_list)))

    def _check_options(self) -> None:
        from semantic_ns.io.writing import refuse_used_folder

        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        if len(self.size) > 2 or any(length < 1 for length in self.size):
            raise SceneError(
                f"Expected --size as one length or as height and width, each at least 1, found "
                f"{' '.join(map(str, self.size))}; change it."
            )
        if self.divisor is not None and self.divisor < 1:
            raise SceneError(f"Expected --divisor of at least 1, found {self.divisor}; change it.")
        if self.mean is not None and not all(map(math.isfinite, self.mean)):
            raise SceneError(f"Expected finite numbers for --mean, found {self.mean}; change them.")
        if self.std is not None and not all(math.isfinite(value) and value > 0 for value in self.std):
            raise SceneError(f"Expected numbers above 0 for --std, found {self.std}; change them.")

    def _device(self) -> str:
        import torch

        has_cuda = torch.cuda.is_available()
        if self.device == "cuda" and not has_cuda:
            raise SceneError("Expected CUDA for --device cuda, found none; choose --device cpu.")
        return "cuda" if self.device != "cpu" and has_cuda else "cpu"

    def _with_options(self, segmenter: "Segmenter") -> "Segmenter":
        """The network with what the options say of its input and its classes."""
        from semantic_ns.prediction.class_names import read_class_names
        from semantic_ns.prediction.model_folder import ASSUMED_COLORS
        from semantic_ns.prediction.preprocessing import NetworkSize
        from semantic_ns.prediction.torchvision_model import ASSUMED_SIZE

        changes: dict[str, Any] = {
            name: value for name in ("mean", "std", "divisor") if (value := getattr(self, name)) is not None
        }
        if self.tile is not None:
            changes["size"] = NetworkSize()  # a size for whole images would leave few tiles, or one
        if self.size:
            changes["size"] = NetworkSize(shorter=self.size[0])
        if len(self.size) == 2:
            changes["size"] = NetworkSize(exact=(self.size[0], self.size[1]))
        fixed = segmenter.fixed_size
        if fixed is not None and self.tile is None and self.size and self.size != fixed:
            raise SceneError(
                f"Expected --size {fixed[0]} {fixed[1]}, the only size that {self.model} takes, found "
                f"{' '.join(map(str, self.size))}; leave it out, or use --tile."
            )
        settled = {ASSUMED_COLORS} if self.mean is not None and self.std is not None else set()
        settled |= {ASSUMED_SIZE} if "size" in changes else set()
        notes = tuple(note for note in segmenter.notes if note not in settled)
        classes = segmenter.classes if self.classes is None else read_class_names(self.classes)
        preprocessing = replace(segmenter.preprocessing, **changes)
        return replace(segmenter, preprocessing=preprocessing, notes=notes, classes=classes)

    def _mapping(self, segmenter: "Segmenter", scene: "SceneFrames") -> "ClassMapping":
        from semantic_ns.prediction.class_mapping import keep_classes, map_to_scene, map_to_table
        from semantic_ns.prediction.inference import predict

        if segmenter.classes is None:
            raise SceneError(
                f"Expected the classes of the network {self.model}, found none in it; pass a list of their names "
                "in the order of its channels by --classes FILE."
            )
        num_channels = segmenter.num_classes
        if num_channels is None:  # only its output shows it
            from semantic_ns.prediction.inference import Inference

            plain = Inference(self.tile, self.overlap if self.tile else 0)
            num_channels = len(predict(segmenter, scene.frames[0].upright()[0], plain))
        names = segmenter.classes.of_channels(num_channels, self.model)
        if self.classes_of == "model":
            return keep_classes(names)
        if self.classes_of == "scene":
            return map_to_scene(names, scene.taxonomy, scene.label_map, str(self.scene))
        return map_to_table(names, self.classes_of)

    def _sources(self, segmenter: "Segmenter", mapping: "ClassMapping", inference: "Inference") -> dict[str, Any]:
        """What was done, for the record."""
        from semantic_ns.prediction.inference import fit_to

        preprocessing = segmenter.preprocessing
        entries = mapping.written.entries
        meanings = [None if target < 0 else entries[target].name for target in mapping.targets.tolist()]
        return {
            "scene": str(self.scene),
            "model": str(self.model),
            "classes_of": self.classes_of,
            "class_of_channel": [
                {"channel": name, "class": meaning} for name, meaning in zip(mapping.names, meanings, strict=True)
            ],
            "size": asdict(fit_to(segmenter, inference)),
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "scale": preprocessing.scale,
            "is_bgr": preprocessing.is_bgr,
            "divisor": preprocessing.divisor,
            "tile": self.tile,
            "overlap": self.overlap if self.tile else None,
            "flip": self.flip,
            "classes": None if self.classes is None else str(self.classes),
            "architecture": self.architecture,
            "sequence": self.sequence,
            "probabilities": self.probabilities,
            "device": self.device,
        }


def report(command: Predict, shares: list[float], has_labels: bool, has_class_list: bool) -> list[str]:
    """What was written, and what can be done with it.

    Args:
        command: the command.
        shares: share of void of each image.
        has_labels: whether the scene has label images of its own.
        has_class_list: whether it is in nerfstudio's format and lists its classes.
    """
    data = command.scene if command.sequence is None else command.scene / command.sequence
    folder, scene = (shlex.quote(str(path)) for path in (command.output_dir.resolve(), data))
    void = sum(shares) / len(shares)
    lines = [f"Wrote {len(shares)} label images to {command.output_dir}; {void:.1%} of their pixels are void."]
    if command.classes_of != "scene":
        lines.append(
            "Their ids are those of classes.json there, and may mean other classes in label images of the scene."
        )
        if has_class_list:
            lines.append("For label images that the scene takes as its own, predict with --classes-of scene.")
        elif not has_labels:
            lines.append(f"In nerfstudio's format the scene {_AS_ITS_OWN}: copy the folder to its folder semantics.")
        return lines
    if not has_labels:  # its classes come from a list, which classes.json would be a second one of
        lines.append(
            f"The scene has no label images. It {_AS_ITS_OWN}: copy the PNGs alone, without classes.json, to its "
            "folder semantics."
        )
        return lines
    labels = f"{folder}/probabilities" if command.probabilities else folder
    return [
        *lines,
        "Next:",
        f"  sns-fuse-labels --data {scene} --labels {labels} --output fused --score True",
        f"  ns-train semantic-nerf --data {scene} --pipeline.datamanager.train-labels {folder}",
    ]


def entrypoint() -> None:
    """Console script `sns-predict`."""
    command = tyro.cli(Predict, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
