"""A small scene in Hypersim's layout: an empty room seen by a tilt-shift camera, cast ray by ray from M_cam_from_uv."""

from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from semantic_ns.io.hdf5 import read_hdf5
from semantic_ns.synthetic_scene import ROOM_HALF_SIZE, make_trajectory

METRES_PER_ASSET_UNIT = 0.0254
WIDTH, HEIGHT = 48, 36
NUM_FRAMES = 12
WALL, FLOOR, CEILING, UNLABELLED = 1, 2, 22, -1

CAMERAS = {
    "ai_001_001": (0.5773502886169104, 0, 0, 0, 0.4330127164626828, 0, 0, 0, -1),
    "ai_007_005": (0.5925544768427853, 0, 0, 0, 0.4331077786745176, 0, 0, 0.09961479090220553, -1.0263344260263545),
    "ai_037_002": (
        *(0.579607251426182, 0, -0.06955286861651404, 0, 0.4346865334657201, 0.09273312506660672),
        *(0, 0.004054126980668954, -1.003909173803896),
    ),
    "ai_019_007": (
        *(0.5816325918420933, 0, 0, 0, 0.4521482462309275, 0),
        *(0.16414578812081862, -0.031774812884525834, -1.0334879501698204),
    ),
}
"""M_cam_from_uv, row by row, of four public scenes: nominal, tilted by 13 degrees, shifted, and with skew."""
SKEWED = "ai_019_007"


def write_hdf5(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["dataset"] = values


def edit_hdf5(path: Path, change) -> None:
    write_hdf5(path, change(read_hdf5(path, "array")))


def write_camera_table(path: Path, cameras=None) -> None:
    names = [f"M_cam_from_uv_{i}{j}" for i in range(3) for j in range(3)]
    columns = ["scene_name", "settings_output_img_height", "settings_output_img_width"]
    lines = [",".join([*columns, "settings_units_info_meters_scale", "use_camera_physical", *names])]
    for name, matrix in (cameras or CAMERAS).items():
        lines.append(",".join([name, "768.0", "1024.0", f"{METRES_PER_ASSET_UNIT}", "", *map(str, matrix)]))
    path.write_text("\n".join(lines) + "\n")


def world_rays(cam_from_uv, rotation, width=WIDTH, height=HEIGHT) -> np.ndarray:
    """Unit direction in the world of every pixel centre [H, W, 3], from Hypersim's own definition."""
    matrix = np.reshape(cam_from_uv, (3, 3))
    rays = np.zeros((height, width, 3))
    for row in range(height):
        for column in range(width):
            u, v = 2 * (column + 0.5) / width - 1, 1 - 2 * (row + 0.5) / height
            ray = rotation @ matrix @ [u, v, 1]
            rays[row, column] = ray / np.linalg.norm(ray)
    return rays


def cast(origin, rays) -> tuple[np.ndarray, np.ndarray]:
    """Distance [H, W] in metres along unit rays to the room's sides, and NYU40 ids [H, W]."""
    length, width, height = ROOM_HALF_SIZE
    low, high = np.array([-length, -width, 0]), np.array([length, width, 2 * height])
    with np.errstate(divide="ignore"):
        to_side = np.where(rays > 0, (high - origin) / rays, (low - origin) / rays)
    axis = to_side.argmin(axis=-1)
    distance = to_side.min(axis=-1)
    labels = np.where(axis < 2, WALL, np.where(rays[..., 2] < 0, FLOOR, CEILING))
    points = origin + distance[..., None] * rays
    is_lamp = (labels == CEILING) & (abs(points[..., 0]) > 1)
    return distance, np.where(is_lamp, UNLABELLED, labels).astype(np.int16)


def linear_color(labels, brightness) -> np.ndarray:
    """Constant colour per class, times a brightness; what is unlabelled shines."""
    colors = np.zeros((*labels.shape, 3), np.float16)
    for number, color in {WALL: (0.5, 0.4, 0.3), FLOOR: (0.2, 0.1, 0.1), CEILING: (0.9, 0.9, 0.8)}.items():
        colors[labels == number] = np.float16(brightness) * np.array(color, np.float16)
    colors[labels == UNLABELLED] = 20
    return colors


def trajectory() -> np.ndarray:
    """Camera to world [frames, 4, 4] in metres of the nominal camera (OpenGL axes), one row more than images."""
    return make_trajectory(NUM_FRAMES + 1) @ np.diag([1.0, -1, -1, 1])


def write_hypersim_scene(root: Path, name: str = "ai_007_005") -> Path:
    """A scene of two cameras; cam_01 has no images. Frame 3 has no labels and frame 4 no depth."""
    folder = root / name
    c2w = trajectory()
    detail, images = folder / "_detail", folder / "images"
    write_hdf5(detail / "cam_00/camera_keyframe_orientations.hdf5", c2w[:, :3, :3])
    write_hdf5(detail / "cam_00/camera_keyframe_positions.hdf5", c2w[:, :3, 3] / METRES_PER_ASSET_UNIT)
    (detail / "metadata_cameras.csv").write_text("camera_name\ncam_00\ncam_01\n")
    (detail / "metadata_scene.csv").write_text(
        f"parameter_name,parameter_value\nmeters_per_asset_unit,{METRES_PER_ASSET_UNIT}\n"
    )
    write_camera_table(root / "metadata_camera_parameters.csv")
    for number in range(NUM_FRAMES):
        pose = c2w[number]
        distance, labels = cast(pose[:3, 3], world_rays(CAMERAS[name], pose[:3, :3]))
        geometry = images / "scene_cam_00_geometry_hdf5"
        colors = linear_color(labels, brightness=0.5 + 0.01 * number)
        write_hdf5(images / f"scene_cam_00_final_hdf5/frame.{number:04d}.color.hdf5", colors)
        write_hdf5(
            geometry / f"frame.{number:04d}.render_entity_id.hdf5", np.where(labels == -1, -1, 7).astype(np.int16)
        )
        if number != 3:
            write_hdf5(geometry / f"frame.{number:04d}.semantic.hdf5", labels)
        if number != 4:
            # Hypersim has float16, whose steps of 2 mm would hide small mistakes.
            write_hdf5(geometry / f"frame.{number:04d}.depth_meters.hdf5", distance.astype(np.float32))
        preview = images / "scene_cam_00_final_preview"
        preview.mkdir(exist_ok=True)
        pixels = (255 * np.clip(colors.astype(np.float32), 0, 1)).astype(np.uint8)
        Image.fromarray(pixels).save(preview / f"frame.{number:04d}.tonemap.jpg")
    return folder
