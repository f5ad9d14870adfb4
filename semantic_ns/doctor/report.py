"""What `sns-doctor` says of a scene: figures, remarks, problems, and the mistake that explains them."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from semantic_ns.doctor.agreement import (
    RELATIVE_TOLERANCE,
    SMALLEST_TOLERANCE_M,
    Agreement,
    ViewComparison,
    neighbouring_pairs,
)
from semantic_ns.doctor.label_ids import LabelCounts, find_id_offset, find_interpolation, surface_points
from semantic_ns.doctor.loading import LoadedScene
from semantic_ns.doctor.mistakes import LEAST_DEPTH_SHARE, LEAST_LABEL_SHARE, Diagnosis, Mistake, diagnose
from semantic_ns.doctor.remarks import LEAST_SEEN, remarks_on
from semantic_ns.doctor.source_frames import coverage_of
from semantic_ns.doctor.views import InspectedScene
from semantic_ns.evaluation.unsure_surface import UnsureSurface
from semantic_ns.evaluation.veil import Veils
from semantic_ns.geometry.poses import ROTATION_TOLERANCE
from semantic_ns.labels.taxonomy import enumerate_ids
from semantic_ns.many_scenes.source_coverage import SourceCoverage

MANY_VIEWS = 16
FEW_VIEWS = 4
"""For depth that takes time to render."""
_LARGEST_OFF_CENTRE = 0.1
_FOV_RANGE_DEGREES = (20.0, 140.0)
_PATH_RANGE_M = (0.05, 200.0)


@dataclass(frozen=True)
class Intrinsics:
    """Of the first frame: image size, focal lengths and principal point in pixels, and field of view in degrees."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    hfov: float
    vfov: float
    is_same_in_all_frames: bool

    @classmethod
    def of(cls, views: InspectedScene) -> "Intrinsics":
        """Those of a scene."""
        (width, height), (fx, fy, cx, cy) = views.size, views.intrinsics[0].tolist()
        hfov, vfov = (2 * math.degrees(math.atan(n / 2 / f)) for n, f in ((width, fx), (height, fy)))
        return cls(width, height, fx, fy, cx, cy, hfov, vfov, bool(np.ptp(views.intrinsics, axis=0).max() < 1e-3))

    def problems(self, may_be_off_centre: bool = False) -> list[str]:
        """What cannot be right about them, as sentences; the principal point is judged unless it is known."""
        found = []
        sides = () if may_be_off_centre else (("cx", self.cx, self.width), ("cy", self.cy, self.height))
        for name, centre, length in sides:
            if abs(centre / length - 0.5) > _LARGEST_OFF_CENTRE:
                found.append(f"The principal point {name} {centre:.1f} is far from the middle of {length} pixels.")
        low, high = _FOV_RANGE_DEGREES
        if not low <= self.hfov <= high:
            found.append(f"The horizontal field of view is {self.hfov:.0f} degrees, outside {low:.0f}..{high:.0f}.")
        return found


@dataclass(frozen=True)
class CameraPath:
    """Whether poses are rigid motions, and how far the cameras move, in metres where `is_metric`, else in units."""

    num_not_finite: int
    largest_rotation_error: float
    extent_m: tuple[float, float, float]
    length_m: float
    median_step_m: float
    is_metric: bool = True

    @classmethod
    def of(cls, views: InspectedScene, is_metric: bool = True) -> "CameraPath":
        """That of a scene, frames in the order of their names."""
        rotations, positions = views.c2w[:, :3, :3], views.c2w[:, :3, 3]
        errors = np.abs(rotations.transpose(0, 2, 1) @ rotations - np.eye(3)).max(axis=(1, 2))
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        x, y, z = np.ptp(positions, axis=0).tolist()
        return cls(
            num_not_finite=int((~np.isfinite(views.c2w).all(axis=(1, 2))).sum()),
            largest_rotation_error=float(errors.max()),
            extent_m=(x, y, z),
            length_m=float(steps.sum()),
            median_step_m=float(np.median(steps)) if len(steps) else 0.0,
            is_metric=is_metric,
        )

    @property
    def unit(self) -> str:
        """Of its lengths."""
        return "m" if self.is_metric else "units"

    def problems(self) -> list[str]:
        """What cannot be right about it, as sentences."""
        found = []
        if self.num_not_finite:
            found.append(f"{self.num_not_finite} poses are not finite.")
        if self.largest_rotation_error > ROTATION_TOLERANCE:
            found.append(f"A pose is no rotation: |R^T R - I| reaches {self.largest_rotation_error:.2g}.")
        low, high = _PATH_RANGE_M
        if self.is_metric and not low <= max(self.extent_m) <= high:
            found.append(f"The cameras span {max(self.extent_m):.3g} m, outside {low:g}..{high:g} m.")
        return found


@dataclass(frozen=True)
class Report:
    """All findings.

    Attributes:
        scene: path, as given.
        layout: what it was recognised as.
        num_frames: all frames.
        num_depth: frames with a depth image.
        split: sentence that says which frames train and which are scored.
        labels: counts of ids.
        intrinsics: findings on the intrinsics of the cameras.
        path: findings on the path of the cameras.
        depth_source: where the compared depth comes from, None where views were not compared.
        diagnosis: the comparison of views, None without depth.
        mistake: the one that explains the problems.
        problems: sentences.
        remarks: sentences on what is no problem.
        veils: floaters before the cameras of a trained scene, or why none was looked for, in words that follow
            "because"; None where nothing was trained.
        unsure_surface: where its surface is unsure, or why this was not looked for, likewise.
        coverage: how much of each frame the sources of methods for many rooms see; None where it is not known.
    """

    scene: str
    layout: str
    num_frames: int
    num_depth: int
    split: str
    labels: LabelCounts
    intrinsics: Intrinsics
    path: CameraPath
    depth_source: str | None
    diagnosis: Diagnosis | None
    mistake: Mistake | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    veils: Veils | str | None = None
    unsure_surface: UnsureSurface | str | None = None
    coverage: SourceCoverage | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report for a JSON file; numbers that do not exist are None."""
        diagnosis, mistake = self.diagnosis, self.mistake
        return {
            "scene": self.scene,
            "layout": self.layout,
            "is_healthy": self.is_healthy,
            "mistake": None if mistake is None else {"name": mistake.name, "sentence": mistake.sentence},
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            "num_frames": self.num_frames,
            "num_depth_images": self.num_depth,
            "num_frames_without_labels": self.labels.num_unlabelled,
            "num_frames_with_void_only": self.labels.num_all_void,
            "split": self.split,
            "void_share": self.labels.void_share,
            "ids_outside_table": list(self.labels.outside),
            "class_shares": self.labels.by_name,
            "pixels_of_id": {str(number): count for number, count in self.labels.pixels.items()},
            "intrinsics": asdict(self.intrinsics),
            "camera_path": asdict(self.path),
            "depth_source": self.depth_source,
            "agreement": None if diagnosis is None else _figures(diagnosis.given),
            "agreement_without_mistake": _figures(diagnosis.mended) if diagnosis and diagnosis.mended else None,
            "best_pixel_shift": None if diagnosis is None else diagnosis.best_pixel_shift,
            "veiled_share_by_frame": dict(self.veils.veiled()) if isinstance(self.veils, Veils) else None,
            "veils_not_looked_for": self.veils if isinstance(self.veils, str) else None,
            "unsure_surface": self.unsure_surface.to_json() if isinstance(self.unsure_surface, UnsureSurface) else None,
            "unsure_surface_not_looked_for": self.unsure_surface if isinstance(self.unsure_surface, str) else None,
            "source_coverage": None if self.coverage is None else self.coverage.to_json(),
        }

    def to_text(self) -> RenderableType:
        """The report for the terminal."""
        labels, path, camera = self.labels, self.path, self.intrinsics
        rows = [
            ("layout", self.layout),
            ("frames", f"{self.num_frames}, {self.num_depth} with depth, {labels.num_unlabelled} without labels, "
             f"{labels.num_all_void} with void only; split {self.split}"),
            ("classes", ", ".join(f"{name} {share:.1%}" for name, share in labels.by_name.items())),
            ("void", f"{labels.void_share:.2%} of the labelled pixels"),
            ("ids outside the table", enumerate_ids(labels.outside) or "none"),
            ("cameras", f"{camera.width}x{camera.height}, fx {camera.fx:.2f} fy {camera.fy:.2f} cx {camera.cx:.2f} "
             f"cy {camera.cy:.2f}, field of view {camera.hfov:.1f} x {camera.vfov:.1f} degrees"
             f"{'' if camera.is_same_in_all_frames else ' (first frame; they differ)'}"),
            ("camera path", f"{' x '.join(f'{length:.2f}' for length in path.extent_m)} {path.unit}, "
             f"{path.length_m:.1f} {path.unit} long, median step {path.median_step_m:.3f} {path.unit}, "
             f"|R^T R - I| up to {path.largest_rotation_error:.1g}"),
            *self._agreement_rows(),
            *self._veil_rows(),
            *self._surface_rows(),
            *([] if self.coverage is None else [("source coverage", self.coverage.sentence())]),
            *(("remark", sentence) for sentence in self.remarks),
            *(("problem", sentence) for sentence in self.problems),
        ]  # fmt: skip
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, text in rows:
            style = "bold red" if name == "problem" else "bold"
            table.add_row(f"[{style}]{name}[/]", escape(text))
        verdict = "[bold green]Healthy.[/]" if self.is_healthy else "[bold red]Something is wrong.[/]"
        mistake = [f"[bold]{escape(self.mistake.sentence)}[/]"] if self.mistake else []
        return Group(table, verdict, *mistake)

    def _veil_rows(self) -> list[tuple[str, str]]:
        if self.veils is None:
            return []
        if isinstance(self.veils, str):
            return [("behind a veil", f"not looked for, because {self.veils}")]
        veiled = [f"{name} {share:.0%}" for name, share in self.veils.veiled()]
        return [("behind a veil", ", ".join(veiled) or f"none of {len(self.veils.names)} views")]

    def _surface_rows(self) -> list[tuple[str, str]]:
        found = self.unsure_surface
        if found is None:
            return []
        text = f"not looked for, because {found}" if isinstance(found, str) else found.sentence()
        return [("unsure surface", text)]

    def _agreement_rows(self) -> list[tuple[str, str]]:
        if self.diagnosis is None:
            return [("views", "not compared")]
        given, mended = self.diagnosis.given, self.diagnosis.mended
        rows = [("views", _agreement_sentence(given, self.depth_source or ""))]
        return rows if mended is None else [*rows, ("without the mistake", _agreement_sentence(mended, ""))]


def _figures(agreement: Agreement) -> dict[str, float | int | None]:
    figures = {
        "depth_agreement": agreement.depth_share,
        "label_agreement": agreement.label_share,
        "label_agreement_with_edges": agreement.label_share_anywhere,
        "hidden_share": agreement.hidden_share,
        "mean_relative_depth_residual": _mean_residual(agreement),
    }
    counts = {"num_pairs": len(agreement.seen), "num_points": int(agreement.seen.sum())}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()} | counts


def _mean_residual(agreement: Agreement) -> float:
    return float(np.nanmean(agreement.residual)) if agreement.agreeing.any() else float("nan")


def _agreement_sentence(agreement: Agreement, source: str) -> str:
    if not agreement.seen.any():
        return f"no point of one view lies in another one where depth is smooth; {source}"
    rule = f"; {source}, agreeing within max({SMALLEST_TOLERANCE_M * 100:g} cm, {RELATIVE_TOLERANCE:.1%})"
    return (
        f"{_label_sentence(agreement)}; depth agrees on {agreement.depth_share:.2%} of the points "
        f"({agreement.hidden_share:.1%} hidden); "
        f"{int(agreement.seen.sum())} points in {len(agreement.seen)} pairs of views{rule if source else ''}"
    )


def _label_sentence(agreement: Agreement) -> str:
    if not agreement.labelled_anywhere.any():
        return "No point is labelled in both views"
    with_edges = f"{agreement.label_share_anywhere:.2%} with label edges"
    if not agreement.labelled.any():
        return f"Labels agree on {with_edges}, and no point lies away from them"
    return f"Labels agree on {agreement.label_share:.2%} of the points ({with_edges})"


def examine(scene: LoadedScene, name: str, depth_source: str = "depth images", num_views: int = MANY_VIEWS) -> Report:
    """Examine a scene; where it has no depth, its views are not compared.

    Args:
        scene: scene to examine.
        name: name of the scene in the report.
        depth_source: where its depth comes from, for the report.
        num_views: how many views are compared with those after them, about ten depth images each.
    """
    views, labels = scene.views, LabelCounts.of(scene)
    intrinsics, path = Intrinsics.of(views), CameraPath.of(views, scene.is_metric)
    diagnosis, mistake, disagreement = None, None, []
    compared = scene.of_commonest_size()
    if views.read_depth is not None and len(compared.views) > 1:
        comparison = ViewComparison(compared.views, neighbouring_pairs(len(compared.views), num_views))
        diagnosis = diagnose(comparison)
        mistake = diagnosis.mistake
        disagreement = _agreement_problems(diagnosis, diagnosis.given.of_pairs(comparison.are_apart()))
    if mistake is None:
        mistake = find_id_offset(labels, surface_points(compared, num_views), scene.meanings) or find_interpolation(
            scene
        )
    is_centre_known = scene.has_known_camera or _is_depth_agreeing(diagnosis)
    problems = [*([scene.refusal] if scene.refusal else []), *intrinsics.problems(is_centre_known), *path.problems()]
    problems += disagreement
    veils = None if scene.find_veils is None else scene.find_veils()
    if isinstance(veils, Veils) and (sentence := veils.sentence()) is not None:
        problems.append(f"{sentence}; train again with {veils.remedy}.")
    if mistake is not None:
        problems.append(f"Likely mistake: {mistake.name}.")
    return Report(
        scene=name,
        layout=scene.layout,
        num_frames=len(views),
        num_depth=sum(scene.has_depth),
        split=scene.split,
        labels=labels,
        intrinsics=intrinsics,
        path=path,
        depth_source=None if diagnosis is None else depth_source,
        diagnosis=diagnosis,
        mistake=mistake,
        problems=tuple(problems),
        remarks=tuple(remarks_on(scene, labels, diagnosis)),
        veils=veils,
        unsure_surface=None if scene.find_unsure_surface is None else scene.find_unsure_surface(),
        coverage=coverage_of(scene),
    )


def _is_depth_agreeing(diagnosis: Diagnosis | None) -> bool:
    if diagnosis is None or diagnosis.given.seen.sum() < LEAST_SEEN:
        return False
    return diagnosis.given.depth_share >= LEAST_DEPTH_SHARE


def _agreement_problems(diagnosis: Diagnosis, apart: Agreement) -> list[str]:
    """What speaks against the scene; `apart` is what was found of pairs of views from two places."""
    given = diagnosis.given
    if apart.agreeing.sum() < len(apart.agreeing):
        number = "Hardly a" if apart.agreeing.any() else "No"
        return [
            f"{number} point of one view lies in another one: poses and depth do not fit together (their units, or "
            "their order)."
        ]
    if given.seen.sum() < LEAST_SEEN and diagnosis.mistake is None:
        return []
    found = []
    if not given.depth_share >= LEAST_DEPTH_SHARE:
        found.append(f"Depth agrees on {given.depth_share:.1%} of the points, below {LEAST_DEPTH_SHARE:.0%}.")
    elif apart.seen.sum() >= LEAST_SEEN and not apart.depth_share >= LEAST_DEPTH_SHARE:
        found.append(
            f"Depth agrees on {apart.depth_share:.1%} of the points between views from two places, below "
            f"{LEAST_DEPTH_SHARE:.0%}."
        )
    # Without such points there is no disagreement either.
    if given.labelled.any() and min(given.label_share, given.label_share_anywhere) < LEAST_LABEL_SHARE:
        found.append(f"{_label_sentence(given)}, below {LEAST_LABEL_SHARE:.0%}.")
    return found
