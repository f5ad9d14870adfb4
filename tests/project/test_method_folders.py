"""A method is one folder and one line: taken away, it is missed by nothing."""

from pathlib import Path

from support.fresh_process import ROOT, run_with_libraries

REMOVED, FOLDER = "semantic-ngp", "semantic_ngp"
TAKE_AWAY = f"""
import importlib.metadata, sys

GONE = "semantic_ns.methods.{FOLDER}"

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name == GONE or name.startswith(GONE + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Gone())
all_entry_points = importlib.metadata.entry_points

def without_the_line(**query):
    points = all_entry_points(**query)
    if "group" not in query:
        return points
    kept = [point for point in points if point.name != "{REMOVED}"]
    if query["group"] == "nerfstudio.method_configs":
        assert len(points) - len(kept) == 1
    return importlib.metadata.EntryPoints(kept)

importlib.metadata.entry_points = without_the_line
"""
"""Code after which the folder and the line are missing; a copy without them would compile all kernels anew."""
TRAIN_THE_OTHERS = """
import pkgutil
from importlib import import_module
from pathlib import Path

import semantic_ns
from support.registered import METHODS, SMALL, configured
from nerfstudio.scripts.train import main as train

names = [module.name for module in pkgutil.walk_packages(semantic_ns.__path__, "semantic_ns.")]
assert GONE in names
for name in names:
    if name != GONE and not name.endswith(("_triton", ".__main__")):
        import_module(name)
for name, method in METHODS.items():
    config = configured(method, Path(sys.argv[1]), Path(sys.argv[2]), 2, **SMALL[name])
    if hasattr(config.pipeline.datamanager, "train_num_rays_per_batch"):
        config.pipeline.datamanager.train_num_rays_per_batch = 16
    config.pipeline.propagation.enabled = False
    train(config)
    assert list(config.get_checkpoint_dir().glob("*.ckpt")), name
print("trained", *METHODS)
"""


def test_a_method_stands_in_one_line_of_the_project() -> None:
    lines = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if f"methods.{FOLDER}." in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{REMOVED} = ")


def test_without_a_method_everything_imports_and_the_other_methods_train(smaller_scene: Path, tmp_path: Path) -> None:
    arguments = f"import sys\nsys.argv = {['-c', str(smaller_scene), str(tmp_path)]!r}\n"
    done = run_with_libraries(arguments + TAKE_AWAY + TRAIN_THE_OTHERS)
    assert done.returncode == 0, done.stderr[-3000:]
    others = "gsnerf gsnerf-small semantic-nerf semantic-nerf-big semantic-nerf-vanilla semantic-splatfacto"
    assert done.stdout.splitlines()[-1] == f"trained {others} viewseg viewseg-small"
