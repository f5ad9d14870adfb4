"""What bundles leave out is what our commands start without."""

import sys

from packaging.utils import canonicalize_name

from support.fresh_process import ROOT, run_python

sys.path.insert(0, str(ROOT / "scripts"))
from offline_rules import BESIDE_TORCH, LEFT_OUT, RELAXED

HIDDEN = f"""
import sys
from importlib import metadata
from packaging.utils import canonicalize_name

left_out = set({sorted(LEFT_OUT)!r})
hidden = {{
    module
    for module, packages in metadata.packages_distributions().items()
    if {{canonicalize_name(package) for package in packages}} <= left_out
}}
assert "open3d" in hidden

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}} in a bundle", name=name)
sys.meta_path.insert(0, Hide())
"""
"""Code after which the packages that bundles leave out cannot be imported."""

COMMANDS = """
import importlib
for point in metadata.entry_points(group="console_scripts"):
    if point.value.startswith("semantic_ns."):
        point.load()
for name in ("train", "eval", "viewer.run_viewer", "render"):
    importlib.import_module(f"nerfstudio.scripts.{name}")
from semantic_ns import methods, synthetic_scene
print("started")
"""


def test_every_command_starts_without_what_is_left_out() -> None:
    process = run_python(HIDDEN + COMMANDS)
    assert process.stdout.splitlines()[-1:] == ["started"], process.stderr


def test_what_is_left_out_is_hidden_in_that_test() -> None:
    process = run_python(HIDDEN + "import open3d")
    assert "No module named 'open3d' in a bundle" in process.stderr


def test_names_are_canonical_and_in_one_table() -> None:
    names = [*LEFT_OUT, *BESIDE_TORCH, *(name for pair in RELAXED for name in pair)]
    assert names == [canonicalize_name(name) for name in names]
    assert not set(LEFT_OUT) & set(BESIDE_TORCH)
