"""A method is one folder and one line: taken away, it is missed by nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.fresh_process import ROOT, TESTS

REMOVED, FOLDER = "semantic-ngp", "semantic_ngp"
TRAIN_THE_OTHERS = """
import pkgutil, sys
from importlib import import_module
from pathlib import Path
import semantic_ns
from support.registered import METHODS
from nerfstudio.scripts.train import main as train
from support.registered import SMALL, configured

assert Path(semantic_ns.__file__).is_relative_to(sys.argv[2]), semantic_ns.__file__
names = [module.name for module in pkgutil.walk_packages(semantic_ns.__path__, "semantic_ns.")]
for name in names:
    if not name.endswith(("_triton", ".__main__")):
        import_module(name)
for name, method in METHODS.items():
    options = {"fuse_on_cpu": False, "hash_backend": "torch"}  # a copy would compile its kernels anew
    options = {key: value for key, value in options.items() if hasattr(method.config.pipeline.model, key)}
    config = configured(method, Path(sys.argv[1]), Path(sys.argv[2]) / "out", 2, **SMALL[name], **options)
    if hasattr(config.pipeline.datamanager, "train_num_rays_per_batch"):
        config.pipeline.datamanager.train_num_rays_per_batch = 16
    config.pipeline.propagation.enabled = False
    train(config)
    assert list(config.get_checkpoint_dir().glob("*.ckpt")), name
print("trained", *METHODS)
"""


def without(name: str, folder: str, place: Path) -> Path:
    """A copy of the package in `place`, without the folder of a method and its line among the entry points."""
    shutil.copytree(ROOT / "semantic_ns", place / "semantic_ns", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(place / "semantic_ns/methods" / folder)
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"{name} = ")]
    assert len(lines) - len(kept) == 1
    (place / "pyproject.toml").write_text("\n".join(kept) + "\n")
    write_metadata(kept, place)
    return place


def write_metadata(pyproject: list[str], place: Path) -> None:
    """What an installation makes of the entry points in `pyproject.toml`."""
    folder = place / "semantic_ns-0.0.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: semantic-ns\nVersion: 0.0.0\n")
    points, is_inside = [], False
    for line in pyproject:
        if line.startswith("["):
            is_inside = line.startswith("[project.entry-points.")
            if is_inside:
                points.append(f"[{line.split(chr(34))[1]}]")
        elif is_inside and " = " in line:
            points.append(line.replace('"', ""))
    (folder / "entry_points.txt").write_text("\n".join(points) + "\n")


def test_without_a_method_everything_imports_and_the_other_methods_train(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    place = without(REMOVED, FOLDER, tmp_path)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(place), str(TESTS)])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAIN_THE_OTHERS, str(nerfstudio_scene), str(place)],
        env=environment, cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(done.stderr[-3000:])
    trained = done.stdout.splitlines()[-1]
    others = "gsnerf gsnerf-small semantic-nerf semantic-nerf-big semantic-nerf-vanilla semantic-splatfacto"
    assert trained == f"trained {others} viewseg viewseg-small"
