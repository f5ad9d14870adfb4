"""What models share that see a new view from a few source views: they render whole images, not single rays."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from semantic_ns.batch import LOGITS, PLANAR_DEPTH
from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sweep_matrices
from semantic_ns.interfaces import RenderedIntervals
from semantic_ns.io.console import announce
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.many_scenes.scene_frames import AnyViews
from semantic_ns.many_scenes.shelf import SCENE, SHELF, SceneShelf
from semantic_ns.many_scenes.source_coverage import SourceRule
from semantic_ns.many_scenes.source_selection import Selection, are_same_image, select_sources
from semantic_ns.many_scenes.views import view_cameras
from semantic_ns.methods.base import Outputs, SemanticModel
from semantic_ns.methods.few_sources import FewSources
from semantic_ns.methods.kept_features import KeptFeatures
from semantic_ns.methods.scene_bounds import BY_DEFAULT, BY_OPTION, StatedBounds, resolve_bounds
from semantic_ns.methods.weights import check_classes, label_space_of, load_weights
from semantic_ns.methods.whole_images import WholeImageModel, camera_of_rays
from semantic_ns.multi_view.along_rays import closeness_of_views
from semantic_ns.multi_view.source_labels import carry_labels
from semantic_ns.shared_cores import share_cores

_ROUNDING = 1e-4
"""Largest difference, in metres and in rotation matrices, between a camera and what is computed from its rays."""
_LABEL_SPACE = "label_space"
_Encoded = TypeVar("_Encoded")


@dataclass
class SourceViewsConfig(ModelConfig):
    """Options of models that see a new view from a few source views."""

    num_source_views: int = 3
    """Number of source frames from which an image is rendered. It can be changed at any time."""
    source_selection: Selection = "coverage"
    """Rule by which source frames are chosen: coverage adds the frame that shows most of what the others show not at
    all or from another side, nearest takes the closest ones by place and direction, published by place alone,
    inverted-poses by -R^T t, which the released code of GSNeRF takes for the place."""
    use_source_labels: bool = True
    """Carry over the labels of source frames that have some. Scores without labels of the scene need False."""
    near_plane: float | None = None
    """Nearest depth that is looked at, in metres; by default that of the method."""
    far_plane: float | None = None
    """Farthest depth that is looked at, in metres; by default that of the method."""
    weights: Path | None = None
    """Weights to begin with: the folder or config.yml of a run, a file of weights, or the name of built-in ones
    (rooms-small: 31 classes, trained on rendered rooms alone with surfaces up to 8 m away). Steps are counted from
    0."""


@dataclass(frozen=True, eq=False)
class ChosenSources:
    """The sources of an image.

    Attributes:
        scene: number of the scored scene; None for the shown one.
        views: all source frames of the scene.
        frames: numbers of the chosen ones.
    """

    scene: int | None
    views: AnyViews
    frames: Int64[Tensor, "chosen"]

    @property
    def cameras(self) -> ViewCameras:
        """Cameras of the chosen frames, as the model knows them."""
        return self.views.known_cameras[self.frames]


@dataclass(frozen=True, eq=False)
class RenderedImage:
    """An image that a model with source views renders.

    Attributes:
        rgb: colours 0..1.
        logits: class logits.
        depth_m: planar depth, metres.
        is_seen: whether a source sees the point.
    """

    rgb: Float[Tensor, "height width 3"]
    logits: Float[Tensor, "height width classes"]
    depth_m: Float[Tensor, "height width"]
    is_seen: Float[Tensor, "height width"]


class SourceViewsModel(SemanticModel, WholeImageModel):
    """A model that renders images of a scene from source frames of it, without having been trained on it.

    It takes the frames from the `SceneShelf` in the metadata of the data set. Outputs are those of `SemanticModel`, and
    ``seen`` 1: 1 where a source sees the point, else 0.
    """

    config: SourceViewsConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    renders_rays = False
    renders_image_intervals = True
    renders_from_sources = True
    supports_propagation = False
    shows_surface = False
    supports_geometry_supervision = False
    shows_instances = False
    compares_sources = True
    """Whether sources are compared with each other, so that an only one is compared with itself."""
    range_m: tuple[float, float]
    """Nearest and farthest depth that is looked at, in metres and to the last bit as they were given, whatever the unit
    of the shown scene; `bounds` are the same in that unit, from which metres come back with an error of rounding."""

    def populate_modules(self) -> None:
        """Build the network, and load its weights if some are given."""
        super().populate_modules()
        self.shelf: SceneShelf = self.kwargs["metadata"][SHELF]
        text = self.taxonomy.to_json().encode()
        self.register_buffer(_LABEL_SPACE, torch.tensor(list(text), dtype=torch.uint8))
        self._features: KeptFeatures[tuple[int | None, int], Any] = KeptFeatures()
        self._few_sources = FewSources()
        # Slow to import, and of use only where there is a model to look at.
        from semantic_ns.viewer.scene_menu import SceneMenu

        self.scene_menu = SceneMenu(self.shelf.scored_names, self.shelf.shown_number)
        self._build_network()
        if self.config.weights is not None:
            load_weights(self, self.config.weights)
        if str(self.kwargs.get("device")) == "cpu":
            share_cores()

    def _populate_bounds(self) -> None:
        # In metres, and so the same in every scene: the network has been trained for these depths.
        in_metres = resolve_bounds(self._stated_bounds_m(), "m")
        announce("bounds", in_metres.sentence(None))
        self.range_m = (in_metres.near, in_metres.far)
        self.bounds = in_metres.in_scene_units(self.metres_per_unit)
        # Rays are not bounded one by one.
        self.collider = None

    def _stated_bounds_m(self) -> list[StatedBounds]:
        given = StatedBounds(BY_OPTION, self.config.near_plane, self.config.far_plane)
        return [given, StatedBounds(BY_DEFAULT, *self._default_range_m())]

    @property
    def renders_classes(self) -> bool:
        """Always."""
        return True

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint whole, as the parent does.

        Raises:
            SceneError: if it was trained on other classes, or on the same ones in another order; or as the parent does.
        """
        if _LABEL_SPACE in state_dict:
            check_classes(label_space_of(state_dict).names, self.taxonomy.names)
            # Spellings and colours may have changed since, and with them the length of the text.
            state_dict = {**state_dict, _LABEL_SPACE: self.get_buffer(_LABEL_SPACE)}
        return super().load_state_dict(state_dict, strict, assign)

    @abstractmethod
    def _default_range_m(self) -> tuple[float, float]:
        """Nearest and farthest depth in metres where no option gives them."""

    @abstractmethod
    def _build_network(self) -> None:
        """Build the network, whose parameters are below `self.network`."""

    @abstractmethod
    def sample_losses(self, sample: TargetSample) -> dict[str, Float[Tensor, ""]]:
        """Losses of a training step."""

    @abstractmethod
    def render_image(self, chosen: ChosenSources, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        """Render one camera at a size (height, width)."""

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """All parameters in one group."""
        return {"network": list(self.parameters())}

    def train(self, mode: bool = True) -> "SourceViewsModel":
        """Switch to training or evaluation; what was kept of frames is forgotten, for training changes the weights."""
        if mode and hasattr(self, "_features"):
            self._features.forget()
        return super().train(mode)

    def kept_features(
        self, chosen: ChosenSources, encode: Callable[[Float[Tensor, "1 3 height width"]], _Encoded]
    ) -> list[_Encoded]:
        """What a network makes of each of the chosen frames, computed once while the weights stay."""
        found = []
        for frame in chosen.frames.tolist():
            kept = self._features.get((chosen.scene, frame))
            if kept is None:
                kept = encode(chosen.views.colors(torch.tensor([frame])).to(self.device))
                self._features.keep((chosen.scene, frame), kept)
            found.append(kept)
        return found

    def with_source_labels(
        self,
        chosen: ChosenSources,
        logits: Float[Tensor, "rays classes"],
        camera: ViewCameras,
        xy: Float[Tensor, "rays 2"],
        depth: Float[Tensor, "rays"],
        is_seen: Bool[Tensor, "views rays"],
        cameras: ViewCameras | None = None,
    ) -> Float[Tensor, "rays classes"]:
        """Logits in which the labels of the sources have a say, where they see the point and have one there.

        Args:
            chosen: the sources.
            logits: class logits of the network.
            camera: camera of the target.
            xy: image coordinates of the rays in the target.
            depth: planar depth of their surfaces, metres.
            is_seen: which sources see them.
            cameras: cameras of the sources, if the network has found better ones.
        """
        if not self.config.use_source_labels:
            return logits
        labels = chosen.views.labels_of(chosen.frames).long().to(self.device)
        if not bool((labels >= 0).any()):
            return logits
        sources = chosen.cameras.to(self.device) if cameras is None else cameras
        at = reproject(sweep_matrices(sources, camera), xy, depth)
        return carry_labels(logits, labels, at, is_seen, closeness_of_views(sources, camera, xy, depth))

    def sources_sentence(self) -> str:
        """What images are rendered from, to stand beside every score: sources, their labels and their cameras."""
        rule, (num_labelled, num_frames) = self.source_rule, self.shelf.num_source_frames
        if not num_labelled:
            labels = f"none of {num_frames} source frames has labels to carry over"
        elif self.config.use_source_labels:
            labels = f"the labels of {num_labelled} of {num_frames} source frames were carried over"
        else:
            labels = f"no labels of source frames were carried over ({num_labelled} of {num_frames} have some)"
        noise = self.shelf.source_noise_deg
        cameras = f"turned by up to {noise:g} degrees about each axis" if noise > 0 else "as given"
        cameras += ", and then levelled by their images" if getattr(self.config, "levels_cameras", False) else ""
        return (
            f"each image is rendered from {rule.count} other frames of its scene, fewer where there are no more, "
            f"chosen by the rule {rule.selection} for depths from {rule.near:g} to {rule.far:g} m; {labels}; cameras "
            f"of the sources were {cameras}"
        )

    # Training

    def forward(self, ray_bundle: Any) -> Outputs:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Losses of a training sample.

        Raises:
            SceneError: for rays, which this model cannot render one by one.
        """
        if not isinstance(ray_bundle, TargetSample):
            raise SceneError(
                f"Expected whole images of a {type(self).__name__}, found single rays; use ns-render or "
                "sns-export-labels, which ask for images."
            )
        self._few_sources.tell_of_training(ray_bundle)
        if self.compares_sources and len(ray_bundle.sources.cameras) == 1:
            ray_bundle = replace(ray_bundle, sources=ray_bundle.sources.twice())
        # Here, not in get_loss_dict: what several processes train together must be used inside `forward`.
        return {"losses": self.sample_losses(ray_bundle)}

    def get_metrics_dict(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """None while training."""
        del outputs, batch
        return {}

    def get_loss_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, outputs: Outputs, batch: Mapping[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The losses that `forward` has computed."""
        del batch, metrics_dict
        return outputs["losses"]

    # Rendering

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> Outputs:
        """Render an image [H, W, c] from the source frames of the camera's scene.

        Raises:
            SceneError: if the scene has too few source frames, or the camera is no perspective camera.
        """
        del obb_box  # a box would have to cut surfaces, of which there is only the first one
        return self._outputs(*self._rendered(camera))

    @torch.no_grad()
    def render_image_intervals(self, camera: Cameras) -> RenderedIntervals:
        """Render all pixels of a camera, row by row: each is one interval without length, at its surface.

        Its weight is 1 where a source sees the surface and 0 where its depth is a guess.
        """
        rendered, target, size = self._rendered(camera)
        rgb, logits, planar, seen = (image.flatten(0, 1) for image in self._parts(rendered, size))
        distance = planar * self._direction_lengths(target, size).to(planar.device).flatten(0, 1)
        return RenderedIntervals(rgb.clamp(0, 1), logits, seen, distance.expand(-1, 2))

    def _rendered(
        self, camera: Cameras, is_rounded: bool = False
    ) -> tuple[RenderedImage, ViewCameras, tuple[int, int]]:
        """The image of a camera at the size at which sources are seen, the camera in metres, and its own size.

        With `is_rounded`, a camera that differs from a source by no more than rounding stands exactly where it stands.
        """
        scene = self._scene_of(camera)
        views = self.shelf.sources(scene)
        target = view_cameras(camera, views.metres_per_unit)
        if is_rounded:
            target = _at_source(target, views.cameras)
        frames = self._source_frames(target, views)
        num_sources, wanted = len(frames.unique()), self.config.num_source_views
        self._few_sources.tell_of_image(scene, self.shelf.name_of(scene), len(views), num_sources, wanted)
        height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
        factor = min(1.0, views.size[1] / width)
        size = (max(32, round(height * factor)), max(32, round(width * factor)))
        rendered = self.render_image(ChosenSources(scene, views, frames), target.to(self.device), size)
        return rendered, target, (height, width)

    @property
    def source_rule(self) -> SourceRule:
        """How the sources of an image are chosen."""
        return SourceRule(self.config.num_source_views, *self.range_m, self.config.source_selection)

    def _source_frames(self, target: ViewCameras, views: AnyViews) -> Int64[Tensor, "chosen"]:
        """Numbers of the sources of a target: fewer where the scene has no more, and never the target."""
        num_others = int((~are_same_image(target, views.cameras)).sum())
        rule = self.source_rule
        count = min(rule.count, max(1, num_others))
        frames = select_sources(target, views.cameras, count, rule.near, rule.far, rule.selection)
        return frames.repeat(2) if len(frames) == 1 and self.compares_sources else frames

    def _scene_of(self, camera: Cameras) -> int | None:
        known = None if camera.metadata is None else camera.metadata.get(SCENE)
        return self.scene_menu.number if known is None else int(torch.as_tensor(known).flatten()[0])

    def _parts(self, rendered: RenderedImage, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Colour, logits, planar depth in scene units, and what is seen, at a size."""
        rgb, logits, depth, seen = (
            _resized(image, size)
            for image in (rendered.rgb, rendered.logits, rendered.depth_m[..., None], rendered.is_seen[..., None])
        )
        return rgb, logits, depth / self.metres_per_unit, seen

    @staticmethod
    def _direction_lengths(camera: ViewCameras, size: tuple[int, int]) -> Float[Tensor, "height width 1"]:
        """Distance along the ray of each pixel per planar depth."""
        return camera.ray_directions(pixel_centres(*size)[None])[0].norm(dim=-1, keepdim=True)

    def _outputs(self, rendered: RenderedImage, camera: ViewCameras, size: tuple[int, int]) -> Outputs:
        """What nerfstudio shows, at the size of the camera."""
        rgb, logits, planar, seen = self._parts(rendered, size)
        distance = planar * self._direction_lengths(camera, size).to(planar.device)
        outputs: Outputs = {
            "rgb": rgb.clamp(0, 1),
            "accumulation": torch.ones_like(planar),
            "depth": distance,
            "expected_depth": distance,
            "seen": seen,
            LOGITS: logits.flatten(0, 1),
        }
        flat = {name: value if name == LOGITS else value.flatten(0, 1) for name, value in outputs.items()}
        if self._renders_raw_outputs:
            flat[PLANAR_DEPTH] = planar.flatten(0, 1)
        self._describe_classes(flat)
        return {name: value.unflatten(0, size) for name, value in flat.items()}

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> Outputs:
        """Render the camera whose rays [H, W] these are; rays of a source frame are not rendered from that frame."""
        return self._outputs(*self._rendered(camera_of_rays(camera_ray_bundle), is_rounded=True))


def _at_source(camera: ViewCameras, sources: ViewCameras) -> ViewCameras:
    """A camera with the pose of the source that it differs from by rounding; the camera itself if there is none."""
    differences = (sources.c2w - camera.c2w).abs().amax(dim=(1, 2))
    nearest = int(differences.argmin())
    return camera if differences[nearest] > _ROUNDING else ViewCameras(sources.c2w[nearest, None], camera.intrinsics)


def _resized(image: Float[Tensor, "rows columns channels"], size: tuple[int, int]) -> Tensor:
    if image.shape[:2] == size:
        return image
    return F.interpolate(image.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
