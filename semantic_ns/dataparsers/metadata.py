"""Keys of `DataparserOutputs.metadata` that the dataparsers of this package fill, and how.

Lists hold one item per image of the split, in the order of its images and cameras.
"""

from typing import Any

TAXONOMY = "taxonomy"
"""`Taxonomy`: the classes of the scene, the same in every split."""

LABEL_MAP = "label_map"
"""`LabelMap | None`: from the ids in the label images to the source ids of the taxonomy; None where they are these."""

LABEL_FILENAMES = "label_filenames"
"""`list[Path | None]`: label image of each frame, None where it has none."""

LABEL_EXPORT_NAMES = "label_export_names"
"""`list[str]`: where the label image of each frame is or would be, relative to the scene folder, with `/`."""

FRAME_NAMES = "frame_names"
"""`list[str]`: name of the files of each frame in folders of predictions, without suffix: that of its label image or,
where two frames of the scene have the same in any split, that of its image with its folders."""

INSTANCE_FILENAMES = "instance_filenames"
"""`list[Path | None]`: image of instance ids of each frame; the key is absent where the scene has none."""

DEPTH_FILENAMES = "depth_filenames"
"""`list[Path | None]`: planar depth image of each frame; the key is absent where the scene has no depth."""

MASK_FILENAMES = "mask_filenames"
"""`list[Path | None]`: mask of each frame, black where pixels are not used; the key is absent where the scene has none.
A frame without a mask uses every pixel."""

HAS_ALPHA = "has_alpha"
"""`bool`: whether any image of the scene has an alpha channel, so that the others get one; absent where none has."""

ALPHA_COLOR = "alpha_color"
"""float `Tensor` [3] in 0..1: colour on which transparent pixels lie when an image is read, as `alpha_color` of the
outputs says; absent where images keep their alpha channel."""

DEPTH_METRES_PER_UNIT = "depth_metres_per_unit"
"""`float`: metres per unit of the depth images (0.001 for millimetres)."""

METRES_PER_UNIT = "metres_per_unit"
"""`float`: metres per scene unit, 1 / dataparser_scale."""

HAS_UNKNOWN_SCALE = "has_unknown_scale"
"""`bool`: whether nothing says how many metres a unit of the poses is, so that `METRES_PER_UNIT` counts these units;
absent where depth or the format of the scene says it. Depth images, where there are any, are in these units, too."""

HAS_NUMBERED_CLASSES = "has_numbered_classes"
"""`bool`: whether no names of classes were found, so that they are called `class_<id>`; absent where there are some."""

SPLIT = "split"
"""`str`: which frames train and which are scored, as a sentence."""

NOTES = "notes"
"""`tuple[str, ...]`: what was read otherwise than it stands in the files, as sentences; absent where nothing was."""

VOID_RULE = "void_rule"
"""`str`: what becomes of void pixels, as a sentence."""

NEAR_FAR_M = "near_far_m"
"""`tuple[float, float] | None`: nearest and farthest geometry in metres, None where it is not known."""

EXPOSURE = "exposure"
"""`float`: factor on linear colour (HDF5) before tone mapping, the same in every split; absent without HDF5 images."""

PLANAR_PER_RAY_DEPTH = "planar_per_ray_depth"
"""float32 `ndarray` [H, W] of the depth images: planar depth per unit of the ray distance that the files hold, the same
in every split; absent where the files hold planar depth."""

DISTORTED_CAMERAS = "distorted_cameras"
"""nerfstudio's `Cameras` that have taken the images, where images are undistorted when they are read; the cameras of
the outputs are then without distortion. Absent where images are used as they are."""

POINT_FILE = "point_file"
"""`PointFile`: sparse points that the scene's file names, which are not read yet; absent without any."""

Metadata = dict[str, Any]
