"""What do fusion and a trained field make of the predictions of a weak 2D network, in rooms that it has not seen?

A small U-Net is trained on all frames of the training rooms, exported to ONNX, and applied to each held-out room by
`sns-predict`. `sns-fuse-labels` fuses its probabilities over all frames by the depth images of the room. With
`--field`, `semantic-nerf` trains once on the predictions of all frames and once on what fusion made of them, and is
scored at the poses of the same frames. Scores: pooled `miou_present` and pixel accuracy against the room's own labels,
which nothing has seen of these rooms.
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
NEVER_TRAINED = (*HELD_OUT, "scene_12")
_BATCH, _LEARNING_RATE = 4, 3e-3


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) of four sizes, whose first layer halves the image."""

    def __init__(self, num_classes: int, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(
            _block(first, second) for first, second in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(_block(below + beside, beside) for below, beside in pairs)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [images, classes, height / 2, width / 2] of normalised images."""
        levels = []
        found = self.stem(image)
        for number, block in enumerate(self.down):
            found = block(found if number == 0 else F.max_pool2d(found, 2))
            levels.append(found)
        for block, beside in zip(self.up, reversed(levels[:-1]), strict=True):
            found = block(torch.cat([F.interpolate(found, scale_factor=2.0), beside], dim=1))
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


def train(images: Tensor, labels: Tensor, num_classes: int, num_steps: int, seed: int) -> UNet:
    """A network trained by cross-entropy, on images that are mirrored and brightened at random."""
    torch.manual_seed(seed)
    generator = random.Random(seed)
    net = UNet(num_classes).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, num_steps)
    for step in range(num_steps):
        chosen = torch.tensor(generator.sample(range(len(images)), _BATCH))
        batch, truth = images[chosen], labels[chosen]
        if generator.random() < 0.5:
            batch, truth = batch.flip(-1), truth.flip(-1)
        batch = batch * (0.8 + 0.4 * torch.rand(_BATCH, 3, 1, 1))
        logits = F.interpolate(net(batch), truth.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, truth, ignore_index=-1)
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
    parser.add_argument("--steps", type=int, default=250, help="steps of the 2D network")
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
        skipped = {*NEVER_TRAINED, *options.held_out}
        rooms = [room for room in sorted(options.rooms.iterdir()) if room.is_dir() and room.name not in skipped]
        with without_routine():
            images, labels = read_rooms(rooms, table)
        start = time.process_time()
        net = train(images, labels, len(table.entries), options.steps, options.seed)
        print(f"{len(rooms)} rooms, {len(images)} images, {time.process_time() - start:.0f} s of the processor")
        export(net, [entry.name for entry in table.entries], network)
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
