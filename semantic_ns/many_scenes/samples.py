"""What one training step sees: target frames of a scene, and the source frames from which they are predicted."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.camera_noise import turned
from semantic_ns.many_scenes.scene_frames import AnyViews
from semantic_ns.many_scenes.source_selection import (
    SelectionRule,
    are_same_image,
    draw_published_sources,
    pose_distances,
    select_sources,
)


@dataclass(frozen=True, eq=False)
class Frames:
    """Some frames of a scene.

    Attributes:
        images: colours 0..1.
        labels: classes, void -1.
        depths_m: planar depth in metres, 0 where unknown; None where the scene has none.
        cameras: cameras in metres.
        masks: which pixels are used; None where all are. The others are void, and of unknown depth.
    """

    images: Float32[Tensor, "frames 3 height width"]
    labels: Int64[Tensor, "frames height width"]
    depths_m: Float32[Tensor, "frames height width"] | None
    cameras: ViewCameras
    masks: Bool[Tensor, "frames height width"] | None = None

    @classmethod
    def of(cls, views: AnyViews, chosen: Int64[Tensor, "chosen"]) -> "Frames":
        """Frames of a scene by their numbers."""
        depths, masks = views.depths_of(chosen), views.masks_of(chosen, "cpu")
        return cls(views.colors(chosen), views.labels_of(chosen).long(), depths, views.cameras[chosen], masks)

    def mirrored(self) -> "Frames":
        """The same frames of the scene in a mirror: images from right to left, and cameras that see them so."""
        flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64, device=self.cameras.c2w.device))
        fx, fy, cx, cy = self.cameras.intrinsics.unbind(-1)
        cameras = ViewCameras(flip @ self.cameras.c2w @ flip, torch.stack([fx, fy, 1 - cx, cy], dim=-1))
        depths, masks = (None if part is None else part.flip(-1) for part in (self.depths_m, self.masks))
        return Frames(self.images.flip(-1), self.labels.flip(-1), depths, cameras, masks)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[2], self.images.shape[3]

    def twice(self) -> "Frames":
        """Each frame two times, for a model that compares frames with each other where there is only one."""
        chosen = torch.arange(len(self.cameras)).repeat(2)
        depths, masks = (None if part is None else part[chosen] for part in (self.depths_m, self.masks))
        return Frames(self.images[chosen], self.labels[chosen], depths, self.cameras[chosen], masks)

    def to(self, device: torch.device | str) -> "Frames":
        """The same frames on a device."""
        depths, masks = (None if part is None else part.to(device) for part in (self.depths_m, self.masks))
        return Frames(self.images.to(device), self.labels.to(device), depths, self.cameras.to(device), masks)

    def random_pixels(self, count: int, generator: torch.Generator) -> list[Int64[Tensor, "pixels"]]:
        """Numbers of random pixels of each frame, row by row, with replacement; of those alone that are used."""
        if self.masks is None:
            shape = (self.size[0] * self.size[1], (count,))
            return [torch.randint(*shape, generator=generator) for _ in range(len(self.images))]
        found = []
        for mask in self.masks.cpu().flatten(1):
            used = mask.nonzero()[:, 0]
            found.append(used[torch.randint(len(used), (count,), generator=generator)])
        return found


@dataclass(frozen=True, eq=False)
class TargetSample:
    """Targets of one scene with their common sources, which are encoded once.

    Attributes:
        sources: the sources.
        targets: the targets: the camera is what the model gets, the rest is what it is compared with.
        least_sources: least number of sources that was asked for; there are fewer where the scene has no more.
    """

    sources: Frames
    targets: Frames
    least_sources: int = 1

    def with_camera_noise(self, largest_deg: float, seed: int) -> "TargetSample":
        """The same sample with turned cameras of its sources, see `turned`; those of the targets stay exact."""
        generator = torch.Generator().manual_seed(seed)
        noisy = turned(self.sources.cameras, largest_deg, generator)
        return replace(self, sources=replace(self.sources, cameras=noisy))


@dataclass(frozen=True)
class Augmentation:
    """How a scene is changed before it is trained on, as if it were another one.

    Attributes:
        mirror: probability that it is seen in a mirror.
        scale: largest change of its size, as a factor.
        color: largest change of brightness, contrast and of each colour channel.
    """

    mirror: float = 0.5
    scale: float = 1.15
    color: float = 0.2


def draw_sample(
    views: AnyViews,
    target: int,
    seed: int,
    num_targets: int,
    counts: tuple[int, int],
    augmentation: Augmentation | None = None,
    rule: SelectionRule | None = None,
) -> TargetSample:
    """Targets and sources of a training step; a pure function of its arguments.

    Args:
        views: a scene.
        target: number of the first target; the others are drawn among the frames nearest to it.
        seed: seed of all draws.
        num_targets: number of targets; fewer in a scene that has not as many frames beside the sources.
        counts: least and largest number of sources; drawn uniformly. Where the scene has fewer frames beside the
            target, these are the sources.
        augmentation: how the scene is changed; None leaves it.
        rule: how sources are chosen from a random half of the frames, by default as `SelectionRule` says; published
            and inverted-poses: see `draw_published_sources`.

    Raises:
        SceneError: if the scene has no frame beside the target.
    """
    generator = torch.Generator().manual_seed(seed)
    sources = _sources(views.cameras, target, counts, rule or SelectionRule(), generator)
    targets = _targets(views.cameras, target, sources, num_targets, generator)
    sample = TargetSample(Frames.of(views, sources), Frames.of(views, targets), counts[0])
    return sample if augmentation is None else _augmented(sample, augmentation, generator)


def _targets(
    cameras: ViewCameras, first: int, sources: Int64[Tensor, "sources"], count: int, generator: torch.Generator
) -> Int64[Tensor, "targets"]:
    number = torch.tensor([first])
    distances = pose_distances(cameras[number], cameras)
    for taken in (*sources.tolist(), first):
        distances[are_same_image(cameras[torch.tensor([taken])], cameras)] = torch.inf
    near = distances.argsort(stable=True)[: min(2 * count, int(distances.isfinite().sum()))]
    others = near[torch.randperm(len(near), generator=generator)[: count - 1]]
    return torch.cat([number, others])


def _sources(
    cameras: ViewCameras, target: int, counts: tuple[int, int], rule: SelectionRule, generator: torch.Generator
) -> Int64[Tensor, "count"]:
    """Sources from a random half of the frames, so that a target is not always seen from the same ones.

    The rules of the released code have random draws of their own.
    """
    camera = cameras[torch.tensor([target])]
    others = (~are_same_image(camera, cameras)).nonzero()[:, 0]
    least, largest = (min(number, max(1, len(others))) for number in counts)
    count = int(torch.randint(least, largest + 1, (), generator=generator))
    if rule.selection in ("published", "inverted-poses"):
        return draw_published_sources(camera, cameras, count, generator, rule.selection)
    size = min(len(others), max(count, len(others) // 2))
    pool = others[torch.randperm(len(others), generator=generator)[:size]]
    return pool[select_sources(camera, cameras[pool], count, rule.near, rule.far, rule.selection)]


def _augmented(sample: TargetSample, augmentation: Augmentation, generator: torch.Generator) -> TargetSample:
    if float(torch.rand((), generator=generator)) < augmentation.mirror:
        sample = replace(sample, sources=sample.sources.mirrored(), targets=sample.targets.mirrored())

    def factor(size: int, largest: float) -> Tensor:
        return largest ** (2 * torch.rand(size, generator=generator) - 1)

    scale = float(factor(1, augmentation.scale))
    gain = factor(3, 1 + augmentation.color / 2) * factor(1, 1 + augmentation.color)
    gamma = factor(1, 1 + augmentation.color)

    def change(frames: Frames) -> Frames:
        c2w = frames.cameras.c2w.clone()
        c2w[:, :3, 3] *= scale
        images = (frames.images.clamp(min=1e-4) ** gamma * gain[:, None, None]).clamp(0, 1)
        depths = None if frames.depths_m is None else frames.depths_m * scale
        return replace(frames, images=images, depths_m=depths, cameras=replace(frames.cameras, c2w=c2w))

    return replace(sample, sources=change(sample.sources), targets=change(sample.targets))
