"""How good is one model on rooms that it was not trained on, beside simple ways to the same result?

Every scored image of every scored scene of a run is predicted from K source frames. All rows come from the same run,
the same sources and the same images: the model, what can be done without one (a copy of the nearest source, a plane at
a constant depth, a plane sweep on colours), what can be done with parts of it, and oracles that see the target's true
depth or image. Scores: pooled `miou_present` (classes with ground truth in any scored image), pixel accuracy, fwIoU;
depth L1, AbsRel and d<1.25 of planar depth in metres, pooled over pixels; mean PSNR over images, over all pixels and
over those that a source truly sees. The JSON file has more: mean IoU by its other rules (`miou`: over classes with
ground truth or prediction; `miou_per_image`: mean over images of the mean IoU over the classes of that image), mean
accuracy of classes, IoU of all things and of wall, floor and ceiling merged (void left out), depth of both, d<1.25^2
and d<1.25^3.

Whether a source sees a pixel is known where the depth of both is; other pixels count neither as seen nor as unseen.
What is not predicted is wrong.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from benchmarks.unseen_rows import STUFF, Row, mean
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.depth import depth_sums
from semantic_ns.evaluation.metrics import confusion_matrix
from semantic_ns.geometry.views import pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.many_scenes.camera_noise import checked_noise, turned
from semantic_ns.many_scenes.samples import Frames
from semantic_ns.many_scenes.scene_frames import AnyViews, frames_of
from semantic_ns.many_scenes.source_selection import pose_distances, select_sources
from semantic_ns.many_scenes.view_pairs import PairRule, partners
from semantic_ns.methods.source_views import ChosenSources, RenderedImage
from semantic_ns.multi_view.splatting import fill_holes, splat_depth
from semantic_ns.runs import load_run

CONSTANT_DEPTH_M = 1.7
NUM_SWEEP_PLANES = 48
SWEEP_RANGE_M = (0.4, 8.0)
SPLIT_ROWS = ("model", "2D segmenter on the sources, warped by the model's depth")
"""Rows that are scored once more on pixels that a source truly sees, and on those that none sees."""


@dataclass(frozen=True, eq=False)
class Target:
    """One scored image with its sources.

    Attributes:
        sources: the chosen source frames, the nearest one first.
        truth: the scored image alone.
        seen: which pixels of it each source truly sees, by the true depth of both.
        is_known: of which pixels it is known whether a source sees them.
    """

    sources: Frames
    truth: Frames
    seen: Bool[Tensor, "sources height width"]
    is_known: Bool[Tensor, "height width"]

    @property
    def parts(self) -> tuple[tuple[str, Bool[Tensor, "height width"]], ...]:
        """The pixels that a source truly sees, and those that none sees, each by its name."""
        seen = self.seen.any(dim=0)
        return ("seen by a source", seen), ("seen by none", self.is_known & ~seen)

    @property
    def true_depth(self) -> Float[Tensor, "height width"]:
        """Planar depth in metres, 0 where unknown."""
        assert self.truth.depths_m is not None
        return self.truth.depths_m[0]

    def warped(
        self, images: Float[Tensor, "sources channels rows columns"], depth: Float[Tensor, "height width"]
    ) -> tuple[Float[Tensor, "sources channels height width"], Bool[Tensor, "sources height width"]]:
        """Images of the sources at the points of the target at a depth, and which sources have them in their image."""
        matrices = sweep_matrices(self.sources.cameras, self.truth.cameras)
        at = reproject(matrices, pixel_centres(*self.truth.size), depth)
        return sample_images(images, at.xy), at.is_seen


def truly_seen(
    sources: Frames, truth: Frames
) -> tuple[Bool[Tensor, "sources height width"], Bool[Tensor, "height width"]]:
    """Which pixels of a target each source sees: inside its image and not behind its surface (2 cm and 5 %).

    The second result says of which pixels it is known whether any source sees them: their depth is known, and that of
    every source in whose image they lie, or of one that sees them.
    """
    assert truth.depths_m is not None
    assert sources.depths_m is not None
    depth = truth.depths_m[0]
    known = depth > 0
    matrices = sweep_matrices(sources.cameras, truth.cameras)
    at = reproject(matrices, pixel_centres(*truth.size), depth.where(known, 1.0))
    surface = sample_images(sources.depths_m[:, None], at.xy, mode="nearest")[:, 0]
    seen = at.is_seen & known & (surface > 0) & ((surface - at.depth).abs() < 0.02 + 0.05 * at.depth)
    is_doubtful = (at.is_seen & (surface <= 0)).any(dim=0)
    return seen, known & (seen.any(dim=0) | ~is_doubtful)


def masked_mean(
    values: Float[Tensor, "sources channels height width"], is_seen: Bool[Tensor, "sources height width"]
) -> Float[Tensor, "channels height width"]:
    """Mean over the sources that see a pixel; that of all where none does."""
    weight = (is_seen | ~is_seen.any(dim=0))[:, None].to(values.dtype)
    return (weight * values).sum(dim=0) / weight.sum(dim=0)


def plane_sweep(target: Target) -> Float[Tensor, "height width"]:
    """Depth at which the colours of the sources agree best, over windows of 7x7 pixels; no network.

    The cost of a plane is the variance of the colours over the sources that have the point in their image; a point in
    fewer than two images costs the variance of a pixel in doubt.
    """
    near, far = SWEEP_RANGE_M
    depths = near * (far / near) ** torch.linspace(0, 1, NUM_SWEEP_PLANES)
    costs = []
    for depth in depths:
        colors, is_seen = target.warped(target.sources.images, depth.expand(target.truth.size))
        weight = is_seen[:, None].float()
        number = weight.sum(dim=0).clamp(min=1)
        mean = (weight * colors).sum(dim=0) / number
        variance = ((weight * (colors - mean) ** 2).sum(dim=0) / number).mean(dim=0)
        costs.append(variance.where(is_seen.sum(dim=0) >= 2, 0.05))
    smoothed = F.avg_pool2d(torch.stack(costs)[:, None], 7, 1, 3, count_include_pad=False)[:, 0]
    return depths[smoothed.argmin(dim=0)]


class Table:
    """Rows by name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.num_classes = len(names)
        self._is_thing = torch.tensor([name not in STUFF for name in names])
        self.rows: defaultdict[str, Row] = defaultdict(Row)

    def classes(
        self,
        name: str,
        predicted: Int64[Tensor, "height width"],
        target: Target,
        mask: Bool[Tensor, "height width"] | None = None,
    ) -> None:
        """Count classes, of pixels of a mask if there is one; -1 is a prediction that is always wrong."""
        truth = target.truth.labels[0]
        self._count(name, predicted, truth if mask is None else truth.where(mask, -1))
        if name in SPLIT_ROWS:
            for where, part in target.parts:
                self._count(f"{name}, pixels {where}", predicted, truth.where(part, -1))

    def _count(self, name: str, predicted: Tensor, truth: Tensor) -> None:
        # What is not predicted must count as wrong: the class after the true one.
        wrong = (truth + 1) % self.num_classes
        row = self.rows[name]
        row.add_classes(confusion_matrix(predicted.where(predicted >= 0, wrong), truth, self.num_classes))
        # And in the other group than the true one.
        group = self._is_thing.long()
        true_group = group[truth.clamp(min=0)]
        found_group = group[predicted.clamp(min=0)].where(predicted >= 0, 1 - true_group)
        groups = confusion_matrix(found_group, true_group.where(truth >= 0, -1), 2)
        row.groups = groups if row.groups is None else row.groups + groups

    def depth(self, name: str, predicted: Float[Tensor, "height width"], target: Target) -> None:
        """Compare depth."""
        truth, labels = target.true_depth, target.truth.labels[0]
        self.rows[name].depth += depth_sums(predicted, truth)
        is_thing = (labels >= 0) & self._is_thing[labels.clamp(min=0)]
        for group, mask in (("all", truth > 0), ("things", is_thing), ("stuff", (labels >= 0) & ~is_thing)):
            self.rows[name].errors[group].add(predicted, truth, mask)
        if name in SPLIT_ROWS:
            for where, mask in target.parts:
                self.rows[f"{name}, pixels {where}"].depth += depth_sums(predicted, truth.where(mask, 0.0))

    def color(self, name: str, predicted: Float[Tensor, "3 height width"], target: Target) -> None:
        """Compare colours."""
        errors = (predicted.clamp(0, 1) - target.truth.images[0]).square().mean(dim=0)
        seen = target.seen.any(dim=0)
        self.rows[name].psnr.append(float(-10 * errors.mean().log10()))
        if bool(seen.any()):
            self.rows[name].psnr_seen.append(float(-10 * errors[seen].mean().log10()))


def one_hot(labels: Int64[Tensor, "frames height width"], num_classes: int) -> Tensor:
    """Labels as images of shares [frames, classes, height, width]; void is 0 everywhere."""
    shares = F.one_hot(labels.clamp(min=0), num_classes) * (labels >= 0)[..., None]
    return shares.permute(0, 3, 1, 2).float()


def score_target(model: Any, table: Table, target: Target, chosen: ChosenSources, nearest: Frames) -> float:
    """Predict one image in every way; returns the seconds that the model needs for it."""
    size = target.truth.size
    model.config.use_source_labels = False
    start = time.perf_counter()
    rendered = model.render_image(chosen, target.truth.cameras, size)
    seconds = time.perf_counter() - start
    table.depth("model", rendered.depth_m, target)
    table.color("model", rendered.rgb.permute(2, 0, 1), target)
    table.classes("model", rendered.logits.argmax(dim=-1), target)
    model.config.use_source_labels = True
    with_labels = model.render_image(chosen, target.truth.cameras, size)
    table.classes("labels: model", with_labels.logits.argmax(dim=-1), target)
    if hasattr(model, "segment"):
        score_parts(model, table, target, nearest, rendered)
    table.depth("constant 1.7 m", torch.full(target.truth.size, CONSTANT_DEPTH_M), target)
    return seconds


def score_parts(model: Any, table: Table, target: Target, nearest: Frames, rendered: RenderedImage) -> None:
    """Predict one image in every way that needs parts of the model, or none of it."""
    size, num_classes = target.truth.size, table.num_classes
    constant = torch.full(size, CONSTANT_DEPTH_M)
    known = target.true_depth.where(target.true_depth > 0, CONSTANT_DEPTH_M)
    swept = plane_sweep(target)
    table.depth("plane sweep on colours, no network", swept, target)
    single = Target(nearest, target.truth, target.seen[:1], target.is_known)
    table.color("nearest source, copied", nearest.images[0], target)
    table.color("nearest source, plane at 1.7 m", single.warped(nearest.images, constant)[0][0], target)
    table.color(
        "nearest source, warped by the model's depth", single.warped(nearest.images, rendered.depth_m)[0][0], target
    )
    colors, is_seen = target.warped(target.sources.images, swept)
    table.color("plane sweep on colours, no network", masked_mean(colors, is_seen), target)
    colors, _ = target.warped(target.sources.images, known)
    table.color("oracle: true depth, occlusion test", masked_mean(colors, target.seen), target)

    def segment(images: Tensor) -> Tensor:
        return F.interpolate(model.segment(images), images.shape[-2:], mode="bilinear", align_corners=False).softmax(1)

    of_sources, of_nearest = segment(target.sources.images), segment(nearest.images)
    table.classes("2D segmenter on the nearest source, copied", of_nearest[0].argmax(dim=0), target)
    table.classes(
        "2D segmenter on the rendered image", segment(rendered.rgb.permute(2, 0, 1)[None])[0].argmax(dim=0), target
    )
    table.classes("oracle: 2D segmenter on the true image", segment(target.truth.images)[0].argmax(dim=0), target)
    if hasattr(model, "guess_depth"):
        # As CloudSeg of Qian et al. (2021): pixels of the sources, with 2D classes and guessed depth, as points.
        splatted = splat_depth(
            model.guess_depth(target.sources.images), target.sources.cameras, target.truth.cameras, size
        )
        cloud, is_hit = fill_holes(splatted, CONSTANT_DEPTH_M)
        votes = masked_mean(*target.warped(of_sources, cloud)).argmax(dim=0)
        table.depth("cloud of guessed depth, holes filled", cloud, target)
        table.classes("cloud of 2D classes and guessed depth, holes filled", votes, target)
        table.classes("cloud of 2D classes and guessed depth, holes wrong", votes.where(is_hit, -1), target)
    warped = target.warped(of_sources, rendered.depth_m)
    table.classes("2D segmenter on the sources, warped by the model's depth", masked_mean(*warped).argmax(0), target)

    shares = one_hot(target.sources.labels, num_classes)
    near_shares = one_hot(nearest.labels, num_classes)
    table.classes("labels: nearest source, copied", near_shares[0].argmax(dim=0), target)
    table.classes(
        "labels: nearest source, plane at 1.7 m", single.warped(near_shares, constant)[0][0].argmax(dim=0), target
    )
    for name, depth in (("plane sweep", swept), ("the model's depth", rendered.depth_m), ("true depth", known)):
        votes = masked_mean(*target.warped(shares, depth))
        table.classes(f"labels: sources, warped by {name}", votes.argmax(dim=0), target)
    votes = masked_mean(target.warped(shares, known)[0], target.seen).argmax(dim=0)
    votes = votes.where(target.seen.any(dim=0), -1)
    table.classes("labels: true depth, occlusion test, unseen is wrong", votes, target, target.is_known)


@torch.no_grad()
def score(
    model: Any, sources: AnyViews, targets: AnyViews, scene: int, table: Table, rule: PairRule | None
) -> tuple[list[float], list[float]]:
    """Predict all images of a scene; returns the seconds of each, and the share of seen pixels among the known ones."""
    seconds, coverage = [], []
    near, far = (bound * model.metres_per_unit for bound in (model.bounds.near, model.bounds.far))
    usable = torch.ones(len(targets), len(sources), dtype=torch.bool)
    if rule is not None:
        usable = partners(targets, sources.cameras, rule) > 0
    for number in range(len(targets)):
        camera = targets.cameras[torch.tensor([number])]
        pool = usable[number].nonzero()[:, 0]
        if len(pool) < model.config.num_source_views:
            continue
        frames = pool[
            select_sources(
                camera, sources.cameras[pool], model.config.num_source_views, near, far, model.config.source_selection
            )
        ]
        exact = Frames.of(sources, frames)
        truth = Frames.of(targets, torch.tensor([number]))
        chosen = replace(exact, cameras=sources.known_cameras[frames])
        target = Target(chosen, truth, *truly_seen(exact, truth))
        first = pool[pose_distances(camera, sources.cameras[pool]).argmin()[None]]
        nearest = replace(Frames.of(sources, first), cameras=sources.known_cameras[first])
        coverage.append(float(target.seen.any(dim=0).sum() / target.is_known.sum().clamp(min=1)))
        seconds.append(score_target(model, table, target, ChosenSources(scene, sources, frames), nearest))
    return seconds, coverage


def score_run(
    load_config: Path, num_sources: Sequence[int], noise_deg: float = 0.0, rule: PairRule | None = None
) -> dict[str, Any]:
    """All rows for each number of sources, with cameras of sources that are wrong by some degrees."""
    checked_noise(noise_deg, "--camera-noise")
    run = load_run(load_config)
    model: Any = run.model
    manager: Any = run.pipeline.datamanager
    datasets = manager.scored_datasets()
    found: dict[str, Any] = {"run": load_config.parent.name, "method": type(model).__name__}
    found |= {"camera_noise_deg": noise_deg, "rule": "any source" if rule is None else rule.sentence()}
    for count in num_sources:
        model.config.num_source_views = count
        table, seconds, coverage, first = Table(model.taxonomy.names), [], [], []
        for scene, dataset in enumerate(datasets):
            model.train()  # forgets the features of frames
            model.eval()
            sources = manager.shelf.sources(scene)
            if noise_deg > 0:
                generator = torch.Generator().manual_seed(scene)
                sources = replace(sources, noisy_cameras=turned(sources.cameras, noise_deg, generator))
            of_scene, seen = score(model, sources, frames_of(dataset), scene, table, rule)
            seconds += of_scene[1:]
            first += of_scene[:1]
            coverage += seen
        if not coverage:
            raise SceneError(
                f"Expected a scored image with {count} source frames, found none by the rule ({found['rule']}); lower "
                "the bounds of --pair-rule, or --num-sources."
            )
        found[f"K = {count}"] = {
            "seconds": {"frame": mean(seconds or first), "first_frame": mean(first)},
            "coverage": mean(coverage),
            "num_images": len(seconds) + len(first),
            "rows": {name: row.scores() for name, row in table.rows.items()},
        }
    return found


def markdown(found: dict[str, Any]) -> str:
    """The rows as tables."""
    lines = [f"Sources: {found['rule']}. Camera noise: {found['camera_noise_deg']:g} degrees.", ""]
    for name, part in found.items():
        if not name.startswith("K = "):
            continue
        times = part["seconds"]
        lines += [
            f"{name}: {part['num_images']} images, {part['coverage']:.1%} of their known pixels seen by a source, "
            f"{times['frame']:.2f} s a frame, {times['first_frame']:.2f} s the first frame of a scene",
            "",
            "| | `miou_present` | of classes over .5 % | accuracy | depth L1 | AbsRel | d<1.25 | PSNR | seen |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        keys = ("miou_present", "miou_of_frequent", "accuracy", "depth_l1", "depth_rel", "depth_delta1")
        for row, scores in part["rows"].items():
            cells = [f"{scores[key]:.3f}" if key in scores else "" for key in keys]
            cells += [f"{scores[key]:.1f}" if key in scores else "" for key in ("psnr", "psnr_seen")]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score a run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="config.yml of a run of a method that sees a new view from source views")
    parser.add_argument("--num-sources", type=int, nargs="+", default=[3], help="numbers of source frames (default: 3)")
    parser.add_argument("--camera-noise", type=float, default=0.0, help="degrees by which source cameras are turned")
    parser.add_argument(
        "--pair-rule",
        type=float,
        nargs=3,
        metavar=("OVERLAP", "METRES", "DEGREES"),
        help="take sources only by this rule of sns-pairs, and score only targets that have enough of them",
    )
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    options = parser.parse_args(arguments)
    rule = None if options.pair_rule is None else PairRule(*options.pair_rule)
    found = score_run(options.run, options.num_sources, options.camera_noise, rule)
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
