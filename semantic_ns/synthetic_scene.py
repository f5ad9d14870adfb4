"""A small furnished room, ray traced in closed form: exact colour, depth and labels for tests.

World: metres, z up, the floor at z = 0 and the room's middle at x = y = 0. Cameras are OpenCV (x right, y down, z
forward), `c2w` is camera to world, and pixel centres lie at +0.5, as in nerfstudio. Colour is smooth on every surface
and not anti-aliased, so that every pixel shows one object only.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8, UInt16
from numpy import ndarray
from PIL import Image

from semantic_ns.labels.class_table import ClassTable

ROOM_HALF_SIZE = (2.4, 2.0, 1.25)
"""Half the room's length, width and height in metres."""

_VOID_ID = 0
_FLOOR, _CEILING, _WALL = 40, 31, 93
_BIG = 1e9
_LIGHT = np.array([0.25, 0.35, 0.9])
_WAVES = np.array([[3.1, 2.3, 4.3], [-5.9, 7.7, 6.1], [13.3, 9.1, -12.7]])
"""Wave vectors of textures in radians per metre."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Texture:
    """Waves over the colour of a surface, the same from every view.

    Attributes:
        strength: amplitude of each wave, relative to the base colour; 0 is a plain surface.
        frequency: factor on the wave vectors.
        num_waves: 1 to 3; several together do not repeat.
    """

    strength: float = 0.12
    frequency: float = 1.0
    num_waves: int = 1


@dataclass(frozen=True)
class Box:
    """An axis-aligned box: class id, base colour 0..1, centre and half size in metres."""

    class_id: int
    color: Triple
    centre: Triple
    half_size: Triple
    texture: Texture = Texture()


@dataclass(frozen=True)
class Sphere:
    """A ball: class id (0 is void), base colour 0..1, centre and radius in metres."""

    class_id: int
    color: Triple
    centre: Triple
    radius: float
    texture: Texture = Texture()


@dataclass(frozen=True)
class View:
    """One rendered camera.

    Attributes:
        rgb: 8 bit colour.
        depth_m: distance along the camera's z axis in metres.
        labels: Replica class id, 0 is void.
        instances: number of the object, from 1; each side of the room is one.
    """

    rgb: UInt8[ndarray, "height width 3"]
    depth_m: Float32[ndarray, "height width"]
    labels: UInt8[ndarray, "height width"]
    instances: UInt16[ndarray, "height width"]


@dataclass(frozen=True)
class Room:
    """What surrounds everything, a box seen from inside, its floor at z = 0; sides are in the order -x +x -y +y -z +z.

    Attributes:
        half_size: half its length, width and height in metres.
        classes: class id of each side.
        colors: base colour of each side.
        textures: texture of each side.
    """

    half_size: Triple = ROOM_HALF_SIZE
    classes: tuple[int, ...] = (_WALL, _WALL, _WALL, _WALL, _FLOOR, _CEILING)
    colors: tuple[Triple, ...] = (
        (0.75, 0.70, 0.60),
        (0.60, 0.70, 0.75),
        (0.70, 0.75, 0.62),
        (0.72, 0.62, 0.70),
        (0.45, 0.30, 0.20),
        (0.90, 0.90, 0.88),
    )
    textures: tuple[Texture, ...] = (Texture(),) * 6


@dataclass(frozen=True)
class Content:
    """All that a camera can see: a room and what is in it; no two surfaces may coincide."""

    objects: tuple[Box | Sphere, ...]
    room: Room = Room()


def make_objects(seed: int = 0) -> tuple[Box | Sphere, ...]:
    """The furniture: along the walls, so that the middle is free for cameras; the seed shifts pieces by up to 15 cm."""
    shift = np.random.default_rng(seed).uniform(-0.15, 0.15, 8)
    return (
        Box(80, (0.55, 0.35, 0.15), (1.75, 0.9 + shift[0], 0.35), (0.45, 0.55, 0.35)),  # table
        Box(20, (0.15, 0.45, 0.65), (1.75, -0.9 + shift[1], 0.45), (0.35, 0.35, 0.45)),  # chair
        Box(76, (0.25, 0.55, 0.30), (-1.8, shift[2], 0.4), (0.5, 0.85, 0.4)),  # sofa
        Box(18, (0.80, 0.75, 0.30), (0.2 + shift[3], 1.75, 0.6), (0.5, 0.22, 0.6)),  # cabinet
        Box(37, (0.40, 0.20, 0.35), (-1.0 + shift[4], -1.98, 1.0), (0.45, 0.03, 1.0)),  # door
        Box(97, (0.55, 0.85, 0.95), (0.7 + shift[5], -1.98, 1.4), (0.5, 0.03, 0.45)),  # window
        Sphere(29, (0.85, 0.25, 0.25), (-1.7, 0.5 + shift[2], 0.95), 0.24),  # cushion
        Sphere(47, (0.95, 0.85, 0.45), (1.75, 1.0 + shift[0], 0.95), 0.25),  # lamp
        Sphere(_VOID_ID, (0.35, 0.30, 0.60), (-1.5 + shift[6], 1.5, 0.3), 0.3),  # nobody labelled it
    )


def make_trajectory(num_frames: int, seed: int = 0) -> Float[ndarray, "frames 4 4"]:
    """OpenCV cameras to world on a wavy ellipse in the middle of the room, looking outwards all round."""
    phase = np.random.default_rng(seed + 1000).uniform(0, 2 * math.pi)
    angles = phase + 2 * math.pi * np.arange(num_frames) / max(num_frames, 1)
    positions = np.stack([0.7 * np.cos(angles), 0.5 * np.sin(angles), 1.35 + 0.25 * np.sin(3 * angles)], axis=-1)
    # Across the middle to the other side: more parallax than looking straight outwards.
    headings = angles + math.pi * 0.75
    tilts = -0.2 + 0.25 * np.sin(2 * angles + 1)
    forward = np.stack([np.cos(headings) * np.cos(tilts), np.sin(headings) * np.cos(tilts), np.sin(tilts)], axis=-1)
    right = np.stack([np.sin(headings), -np.cos(headings), np.zeros_like(headings)], axis=-1)
    c2w = np.tile(np.eye(4), (num_frames, 1, 1))
    c2w[:, :3, :] = np.stack([right, np.cross(forward, right), forward, positions], axis=-1)
    return c2w


def render(
    c2w_opencv: Float[ndarray, "4 4"], width: int, height: int, seed: int = 0, hfov_degrees: float = 90.0
) -> View:
    """Trace one ray through every pixel centre of a camera in the furnished room.

    Args:
        c2w_opencv: camera to world, the camera inside the room and outside its furniture.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        seed: seed of the furniture.
        hfov_degrees: horizontal field of view; pixels are square.
    """
    return render_content(Content(make_objects(seed)), c2w_opencv, width, height, hfov_degrees)


def render_content(
    content: Content,
    c2w_opencv: Float[ndarray, "4 4"],
    width: int,
    height: int,
    hfov_degrees: float = 90.0,
    rays_per_side: int = 1,
) -> View:
    """Trace rays through every pixel: colours are means over the pixel, all else is that of its centre.

    Args:
        content: what there is to see.
        c2w_opencv: camera to world, the camera inside the room and outside its furniture.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        hfov_degrees: horizontal field of view; pixels are square.
        rays_per_side: colour is the mean of a grid of rays with that many on a side, so that far patterns do not
            alias; odd, so that one of them passes through the centre.
    """
    if rays_per_side % 2 == 0:
        raise ValueError(f"Expected an odd number of rays per side of a pixel, found {rays_per_side}.")
    fine_width, fine_height = width * rays_per_side, height * rays_per_side
    focal = fine_width / 2 / math.tan(math.radians(hfov_degrees) / 2)
    columns, rows = np.meshgrid(np.arange(fine_width) + 0.5, np.arange(fine_height) + 0.5)
    camera_directions = np.stack(
        [(columns - fine_width / 2) / focal, (rows - fine_height / 2) / focal, np.ones_like(columns)], axis=-1
    )
    # The camera z of each direction is 1, so the ray parameter below is planar depth.
    directions = (camera_directions @ c2w_opencv[:3, :3].T).reshape(-1, 3)
    hits = _trace(c2w_opencv[:3, 3], directions, content)
    rgb = _shade(hits).reshape(height, rays_per_side, width, rays_per_side, 3).mean(axis=(1, 3))
    centres = slice(rays_per_side // 2, None, rays_per_side)
    depth, class_ids, instances = (
        values.reshape(fine_height, fine_width)[centres, centres]
        for values in (hits.depth, hits.class_ids, hits.instances)
    )
    return View(
        rgb=(rgb * 255).round().astype(np.uint8),
        depth_m=depth.astype(np.float32),
        labels=class_ids.astype(np.uint8),
        instances=instances.astype(np.uint16),
    )


@dataclass
class _Hits:
    """Nearest surface of every ray so far."""

    depth: Float[ndarray, "rays"]
    points: Float[ndarray, "rays 3"]
    normals: Float[ndarray, "rays 3"]
    colors: Float[ndarray, "rays 3"]
    textures: Float[ndarray, "rays 3"]
    """Strength, frequency and number of waves."""
    class_ids: Int[ndarray, "rays"]
    instances: Int[ndarray, "rays"]


def _trace(origin: Float[ndarray, "3"], directions: Float[ndarray, "rays 3"], content: Content) -> _Hits:
    hits = _trace_room(origin, directions, content.room)
    for number, thing in enumerate(content.objects, len(content.room.classes) + 1):
        depth, normals = (
            _hit_box(origin, directions, thing) if isinstance(thing, Box) else _hit_ball(origin, directions, thing)
        )
        is_nearer: Bool[ndarray, "rays"] = depth < hits.depth
        hits.depth[is_nearer] = depth[is_nearer]
        hits.normals[is_nearer] = normals[is_nearer]
        hits.colors[is_nearer] = thing.color
        hits.textures[is_nearer] = _numbers_of(thing.texture)
        hits.class_ids[is_nearer] = thing.class_id
        hits.instances[is_nearer] = number
    hits.points = origin + hits.depth[:, None] * directions
    return hits


def _numbers_of(texture: Texture) -> Triple:
    return texture.strength, texture.frequency, float(texture.num_waves)


def _trace_room(origin: Float[ndarray, "3"], directions: Float[ndarray, "rays 3"], room: Room) -> _Hits:
    """From inside, each axis has one side ahead; the nearest of the three is hit."""
    half = np.array(room.half_size)
    safe = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
    depths = (np.sign(safe) * half + [0, 0, half[2]] - origin) / safe
    axis = depths.argmin(axis=1)
    rays = np.arange(len(directions))
    is_positive = safe[rays, axis] > 0
    side = 2 * axis + is_positive
    normals = np.zeros_like(directions)
    normals[rays, axis] = np.where(is_positive, -1.0, 1.0)
    return _Hits(
        depth=depths[rays, axis],
        points=np.zeros_like(directions),
        normals=normals,
        colors=np.array(room.colors)[side],
        textures=np.array([_numbers_of(texture) for texture in room.textures], float)[side],
        class_ids=np.array(room.classes)[side],
        instances=side + 1,
    )


_Surface = tuple[Float[ndarray, "rays"], Float[ndarray, "rays 3"]]


def _hit_box(origin: Float[ndarray, "3"], directions: Float[ndarray, "rays 3"], box: Box) -> _Surface:
    """Depth (huge where missed) and outward normal by the slab method."""
    safe = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
    centre, half = np.array(box.centre), np.array(box.half_size)
    ends = np.stack([(centre - half - origin) / safe, (centre + half - origin) / safe])
    entries, exits = ends.min(axis=0), ends.max(axis=0)
    axis = entries.argmax(axis=1)
    rays = np.arange(len(directions))
    depth = entries[rays, axis]
    is_hit = (depth > 0) & (depth < exits.min(axis=1))
    normals = np.zeros_like(directions)
    normals[rays, axis] = -np.sign(safe[rays, axis])
    return np.where(is_hit, depth, _BIG), normals


def _hit_ball(origin: Float[ndarray, "3"], directions: Float[ndarray, "rays 3"], ball: Sphere) -> _Surface:
    """Depth (huge where missed) and outward normal: the smaller root of |o + t d - c|^2 = r^2."""
    offset = origin - np.array(ball.centre)
    a = (directions**2).sum(axis=1)
    half_b = directions @ offset
    discriminant = half_b**2 - a * (offset @ offset - ball.radius**2)
    depth = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / a
    is_hit = (discriminant > 0) & (depth > 0)
    normals = (offset + depth[:, None] * directions) / ball.radius
    return np.where(is_hit, depth, _BIG), normals


def _shade(hits: _Hits) -> Float[ndarray, "rays 3"]:
    """Diffuse light from above plus waves over each surface: smooth, and the same from every view."""
    light = 0.75 + 0.25 * (hits.normals @ (_LIGHT / np.linalg.norm(_LIGHT)))
    strength, frequency, num_waves = hits.textures.T
    wave = np.zeros_like(light)
    for number, vector in enumerate(_WAVES):
        phase = frequency * (hits.points @ vector) + hits.instances
        wave += np.where(num_waves > number, np.sin(phase), 0.0)
    return np.clip(hits.colors * (light * (1 + strength * wave))[:, None], 0, 1)


def write_replica_scene(
    folder: Path, num_frames: int = 12, width: int = 48, height: int = 36, sequences: int = 1, seed: int = 0
) -> Path:
    """Write a scene in Replica's layout (frames 0, 1, ... of Sequence_1, ...) and return its folder.

    All sequences show the same furniture, which `seed` places, from trajectories of their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = ClassTable.load("replica")
    classes = [{"id": entry.id, "name": entry.name} for entry in table.entries]
    (folder / "info_semantic.json").write_text(json.dumps({"classes": classes}), "utf8")
    for number in range(1, sequences + 1):
        sequence = folder / f"Sequence_{number}"
        c2w = make_trajectory(num_frames, seed + number)
        for name in ("rgb", "depth", "semantic_class", "semantic_instance"):
            (sequence / name).mkdir(parents=True, exist_ok=True)
        for i, pose in enumerate(c2w):
            view = render(pose, width, height, seed)
            _write_png(sequence / "rgb" / f"rgb_{i}.png", view.rgb)
            _write_png(sequence / "depth" / f"depth_{i}.png", _whole_numbers(view.depth_m))
            _write_png(sequence / "semantic_class" / f"semantic_class_{i}.png", view.labels)
            _write_png(sequence / "semantic_instance" / f"semantic_instance_{i}.png", view.instances)
        np.savetxt(sequence / "traj_w_c.txt", c2w.reshape(-1, 16), fmt="%.9f")
    return folder


def write_nerfstudio_scene(
    folder: Path, num_frames: int = 12, width: int = 48, height: int = 36, seed: int = 0
) -> Path:
    """Write a scene in nerfstudio's format with a folder `semantics` and `semantic_classes`, and return its folder."""
    poses = make_trajectory(num_frames, seed + 1)
    used = {_FLOOR, _CEILING, _WALL} | {thing.class_id for thing in make_objects(seed)}
    classes = [
        {"id": entry.id, "name": entry.name, "color": list(entry.color), "is_thing": entry.is_thing}
        for entry in ClassTable.load("replica").entries
        if entry.id in used
    ]
    return write_nerfstudio_views(folder, poses, [render(pose, width, height, seed) for pose in poses], classes)


def write_nerfstudio_views(
    folder: Path,
    poses: Float[ndarray, "frames 4 4"],
    views: Sequence[View],
    classes: Sequence[Mapping[str, object]],
    hfov_degrees: float = 90.0,
    depth_unit_m: float = 0.001,
) -> Path:
    """Write views, all of one size, as a scene in nerfstudio's format with labels and depth, and return its folder.

    Args:
        folder: folder to write into.
        poses: OpenCV cameras to world.
        views: the view of each.
        classes: entries of `semantic_classes`; 0 is void.
        hfov_degrees: horizontal field of view of the views.
        depth_unit_m: what 1 means in depth images; depth beyond 65535 of it is unknown, which is 0.
    """
    for name in ("images", "semantics", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames = []
    for i, (pose, view) in enumerate(zip(poses, views, strict=True)):
        name = f"frame_{i:05d}.png"
        _write_png(folder / "images" / name, view.rgb)
        _write_png(folder / "semantics" / name, view.labels)
        _write_png(folder / "depth" / name, _whole_numbers(view.depth_m, depth_unit_m))
        c2w_opengl = pose * np.array([1.0, -1.0, -1.0, 1.0])
        frames.append(
            {
                "file_path": f"images/{name}",
                "depth_file_path": f"depth/{name}",
                "transform_matrix": c2w_opengl.tolist(),
            }
        )
    height, width = views[0].labels.shape
    focal = round(width / 2 / math.tan(math.radians(hfov_degrees) / 2), 9)  # that of 90 degrees is exact
    intrinsics = {"w": width, "h": height, "fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2}
    content = {"camera_model": "OPENCV", **intrinsics, "semantic_classes": classes, "semantic_void_id": 0}
    (folder / "transforms.json").write_text(json.dumps({**content, "frames": frames}, indent=1), "utf8")
    return folder


def _whole_numbers(depth_m: Float32[ndarray, "height width"], unit_m: float = 0.001) -> UInt16[ndarray, "height width"]:
    numbers = (depth_m * round(1 / unit_m)).round()
    return np.where(numbers <= np.iinfo(np.uint16).max, numbers, 0).astype(np.uint16)


def _write_png(path: Path, values: UInt8[ndarray, "..."] | UInt16[ndarray, "..."]) -> None:
    Image.fromarray(values).save(path)
