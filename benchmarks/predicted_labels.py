"""What do fusion and a trained field make of the predictions of a weak 2D network, in rooms that it has not seen?

A small U-Net is trained on all frames of the training rooms, exported to ONNX, and applied to each held-out room by
`sns-predict`. `sns-fuse-labels` fuses its probabilities over all frames by the depth images of the room. With
`--field`, `semantic-nerf` trains once on the predictions of all frames and once on what fusion made of them, and is
scored at the poses of the same frames. Scores: pooled `miou_present` and pixel accuracy against the room's own labels,
which nothing has seen of these rooms.

The recipe of the network was chosen on rooms that are neither trained on nor scored, `CHOSEN_ON`.
"""

import argparse
import json
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.cli.fuse_labels import FuseLabels
from semantic_ns.cli.predict import Predict
from semantic_ns.io.console import without_routine
from semantic_ns.io.writing import write_json
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.prediction.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from semantic_ns.prediction.scene_frames import read_frames

HELD_OUT = ("scene_11", "scene_16", "scene_20")
CHOSEN_ON = ("scene_10", "scene_12", "scene_14")
_BATCH, _LEARNING_RATE = 8, 3e-3
_STRIDE = 4
_CLASS_BALANCE = 0.5
_LEAST_SHARE = 1e-4
_COLOR_JITTER = 0.3


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) of four sizes, the largest of which is a quarter of the image."""

    def __init__(self, num_classes: int, widths: Sequence[int] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 2 * _STRIDE, stride=_STRIDE, padding=_STRIDE // 2)
        self.down = nn.ModuleList(
            _block(first, second) for first, second in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(_block(below + beside, beside) for below, beside in pairs)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [images, classes, height / 4, width / 4] of normalised images."""
        levels = []
        found = self.stem(image)
        for number, block in enumerate(self.down):
            found = block(found if number == 0 else F.max_pool2d(found, 2))
            levels.append(found)
        for block, beside in zip(self.up, reversed(levels[:-1]), strict=True):
            found = block(torch.cat([F.interpolate(found, size=beside.shape[-2:]), beside], dim=1))
        return self.head(found)


def read_rooms(rooms: Sequence[Path], table: ClassTable) -> tuple[Tensor, Tensor]:
    """Normalised images [N, 3, H, W] and classes [N, H, W] of all frames; classes are rows of a table, -1 is void."""
    place_of_name = {entry.name: place for place, entry in enumerate(table.entries)}
    images, labels = [], []
    for room in rooms:
        scene = read_frames(room)
        places = np.array([*(place_of_name[name] for name in scene.taxonomy.names), -1])
        for frame in scene.frames:
            images.append(Preprocessing().normalize(frame.upright()[0])[0])
            labels.append(torch.from_numpy(places[frame.dataset.labels_of(frame.index)]))
    return torch.stack(images), torch.stack(labels)


def only_trained(labels: Tensor) -> tuple[Tensor, list[int]]:
    """Labels as places in the ascending list of those that occur, -1 for void, and the list."""
    occurring = torch.unique(labels[labels >= 0])
    return torch.where(labels >= 0, torch.searchsorted(occurring, labels.contiguous()), -1), occurring.tolist()


def class_weights(labels: Tensor, num_classes: int, balance: float = _CLASS_BALANCE) -> Tensor:
    """How much each class counts, f^-balance where f is its share of the pixels, 1 in the mean over the pixels."""
    share = torch.bincount(labels[labels >= 0], minlength=num_classes).float()
    share = share / share.sum()
    weights = share.clamp(min=_LEAST_SHARE) ** -balance
    return weights / (weights * share).sum()


def varied(images: Tensor, labels: Tensor, generator: random.Random) -> tuple[Tensor, Tensor]:
    """A batch that is mirrored at random, each image in another brightness, contrast and tint."""
    if generator.random() < 0.5:
        images, labels = images.flip(-1), labels.flip(-1)

    def between_ones(*shape: int) -> Tensor:
        return 2 * torch.rand(len(images), *shape) - 1

    contrast = 1 + _COLOR_JITTER * between_ones(1, 1, 1)
    tint = 1 + 0.5 * _COLOR_JITTER * between_ones(3, 1, 1)
    return images * contrast * tint + _COLOR_JITTER * between_ones(1, 1, 1), labels


def train(images: Tensor, labels: Tensor, num_classes: int, num_steps: int, seed: int) -> UNet:
    """A network trained by cross-entropy with balanced classes, at the size of its logits."""
    torch.manual_seed(seed)
    generator = random.Random(seed)
    net = UNet(num_classes).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, num_steps)
    weights = class_weights(labels, num_classes)
    batch_size = min(_BATCH, len(images))
    order: list[int] = []
    for step in range(num_steps):
        while len(order) < batch_size:
            order += generator.sample(range(len(images)), len(images))
        chosen, order = order[:batch_size], order[batch_size:]
        batch, truth = varied(images[chosen], labels[chosen], generator)
        truth = truth[:, _STRIDE // 2 :: _STRIDE, _STRIDE // 2 :: _STRIDE]
        loss = F.cross_entropy(net(batch), truth, weight=weights, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return net.eval()


def export(net: UNet, names: Sequence[str], path: Path) -> Path:
    """Write a network as ONNX with height and width free, and the names of its classes beside it."""
    axes = {2: "height", 3: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its older exporter
        torch.onnx.export(
            net, (torch.zeros(1, 3, 64, 64),), str(path), dynamo=False, input_names=["image"],
            output_names=["logits"], dynamic_axes={"image": axes, "logits": axes},
        )  # fmt: skip
    path.with_suffix(".txt").write_text("\n".join(names), "utf8")
    return path


def score_room(room: Path, network: Path, output: Path) -> dict[str, Any]:
    """Scores of the predictions for a room, and of what fusion makes of them."""
    predicted = output / f"{room.name}_predicted"
    if not predicted.exists():
        Predict(
            room, network, predicted, classes=network.with_suffix(".txt"), probabilities=True, flip=True, divisor=16,
            mean=IMAGENET_MEAN, std=IMAGENET_STD,
        ).main()  # fmt: skip
    fused = output / f"{room.name}_fused"
    FuseLabels(room, predicted / "probabilities", fused, score=True).main()
    return json.loads((fused / "fusion.json").read_text("utf8"))["scores"]


def score_field(room: Path, labels: Path, num_steps: int) -> dict[str, Any]:
    """Scores of a field that was trained on labels of all frames of a room, at the poses of these frames."""
    run, scores = labels.with_name(f"{labels.name}_field"), labels.with_name(f"{labels.name}_field.json")
    scripts = Path(sys.executable).parent
    words = ["semantic-nerf", "--data", room, "--output-dir", run, "--timestamp", "run", "--vis", "tensorboard"]
    words += ["--max-num-iterations", num_steps, "--machine.device-type", "cpu"]
    words += ["--pipeline.datamanager.train-labels", labels.resolve(), "--pipeline.datamanager.evaluate-on", "train"]
    words += ["semantic-data", "--split", "all"]
    subprocess.run([scripts / "ns-train", *map(str, words)], check=True)
    (config,) = run.rglob("config.yml")
    subprocess.run([scripts / "ns-eval", "--load-config", config, "--output-path", scores], check=True)
    return json.loads(scores.read_text("utf8"))["results"]


def main() -> None:
    """Train, export, predict, fuse, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=Path, required=True, help="folder of scenes, such as rendered/many")
    parser.add_argument("--held-out", nargs="+", default=list(HELD_OUT), help="names of the rooms that are scored")
    parser.add_argument("--steps", type=int, default=600, help="steps of the 2D network")
    parser.add_argument("--seed", type=int, default=0, help="seed of the 2D network")
    parser.add_argument(
        "--field", action="store_true", help="also train semantic-nerf on predictions and on fused labels"
    )
    parser.add_argument("--field-steps", type=int, default=2000, help="steps of semantic-nerf")
    parser.add_argument("--output", type=Path, required=True, help="folder of everything that is written")
    options = parser.parse_args()
    table = ClassTable.load("replica")
    options.output.mkdir(parents=True, exist_ok=True)
    network = options.output / "unet.onnx"
    if not network.exists():
        skipped = {*HELD_OUT, *CHOSEN_ON, *options.held_out}
        rooms = [room for room in sorted(options.rooms.iterdir()) if room.is_dir() and room.name not in skipped]
        with without_routine():
            images, labels = read_rooms(rooms, table)
        labels, places = only_trained(labels)
        start = time.process_time()
        net = train(images, labels, len(places), options.steps, options.seed)
        print(f"{len(rooms)} rooms, {len(images)} images, {time.process_time() - start:.0f} s of the processor")
        export(net, [table.entries[place].name for place in places], network)
    results: dict[str, Any] = {}
    for name in options.held_out:
        results[name] = score_room(options.rooms / name, network, options.output)
        write_json(options.output / "results.json", results)
    for source in ("fused", "predicted") if options.field else ():
        for name in options.held_out:
            labels = options.output / f"{name}_{source}"
            results[name][f"field, {source}"] = score_field(options.rooms / name, labels, options.field_steps)
            write_json(options.output / "results.json", results)
    print("| room | labels | miou_present | pixel accuracy |\n|---|---|---|---|")
    for name, rows in results.items():
        for source, scores in rows.items():
            print(f"| {name} | {source} | {scores['miou_present']:.3f} | {scores['pixel_accuracy']:.3f} |")


if __name__ == "__main__":
    main()
