"""What nerfstudio 1.1.5 asks for and our commands do without, and what stands beside torch on most clusters.

`tests/project/test_offline_rules.py` starts our commands with these packages hidden, so that the table cannot go stale.
"""

from dataclasses import dataclass

_OTHER_COMMANDS = "only commands of nerfstudio other than ns-train, ns-eval, ns-viewer and ns-render use it"
_VISER = "viser uses it for meshes and robots only"

LEFT_OUT = {
    "av": _OTHER_COMMANDS,
    "comet-ml": "a tracking service, which `--vis comet` alone uses",
    "cryptography": _OTHER_COMMANDS,
    "gdown": "it downloads scenes",
    "imageio-ffmpeg": "it carries ffmpeg (170 MB unpacked), which ns-render alone wants",
    "ipywidgets": "notebooks",
    "jupyterlab": "notebooks",
    "msgpack": "nerfstudio's old viewer",
    "msgpack-numpy": "nerfstudio's old viewer",
    "nodeenv": "viser needs it only to build its web page, which its wheel holds",
    "nuscenes-devkit": "the nuScenes dataparser alone uses it, and it forbids numpy 2",
    "open3d": "ns-export and ns-process-data use it (450 MB)",
    "plotly": _OTHER_COMMANDS,
    "plyfile": _VISER,
    "pyliblzfse": "viser's reader of Record3D videos; it has no wheels",
    "pymeshlab": "ns-export uses it",
    "pyngrok": "tunnels to a public address",
    "python-socketio": _OTHER_COMMANDS,
    "timm": _OTHER_COMMANDS,
    "torch-fidelity": "an image score that is not computed here",
    "trimesh": "ns-export uses it",
    "wandb": "a tracking service, which `--vis wandb` alone uses",
    "xatlas": "ns-export uses it",
    "yourdfpy": _VISER,
}
"""Packages that are required by some metadata and imported by no command of ours, with the reason; canonical names."""


@dataclass(frozen=True)
class Relaxed:
    """Versions that are allowed in place of those that nerfstudio states."""

    versions: str
    reason: str


RELAXED = {
    ("nerfstudio", "opencv-python-headless"): Relaxed(">=4.10", "nerfstudio pins 4.10.0.84; newer ones work"),
    ("nerfstudio", "protobuf"): Relaxed(">=3.20", "nerfstudio pins 3.20.3 for a service that is left out"),
}
"""By the package that requires and the one that is required, both in canonical form."""

BESIDE_TORCH = (
    "h5py",
    "matplotlib",
    "numba",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "protobuf",
    "scikit-image",
    "scipy",
    "setuptools",
    "tensorboard",
    "torch",
    "torchvision",
)
"""The large packages, and torch's own, that are taken to be where torch is; canonical names."""
