"""The direction of the data is the direction of the imports, and registration loads little."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter

import pytest

from support import fresh_process
from support.fresh_process import HIDE_PLUGIN, ROOT, TESTS

PACKAGE = ROOT / "semantic_ns"

# A folder, or a module at the top, may import those of its own layer and of the layers before it.
LAYERS = (
    ("errors", "moved"),
    ("kernels",),
    ("io",),
    ("shared_cores", "run_paths", "run_clock", "commands", "checkpoints", "jobs", "processes", "shared_gradients"),
    ("labels", "losses", "rendering", "encodings", "optimizers", "geometry"),
    ("batch", "interfaces"),
    ("dataparsers", "synthetic_scene"),
    ("datasets", "runs"),
    ("surface", "many_scenes", "backbones", "multi_view"),
    ("propagation", "instances", "run_snapshot"),
    ("fields", "sampling", "splatting"),
    ("host", "viewer", "evaluation"),
    ("active_learning",),
    ("datamanagers",),
    ("export",),
    ("fusion", "prediction"),
    ("doctor", "annotations"),
    ("audit",),
    ("labelling",),
    ("pipeline",),
    ("trainer",),
    ("methods",),
    ("benchmark", "scene_batch"),
    ("cli",),
    ("train",),
)
BENCHMARK_LAYERS = (("runner",), ("labels",), ("active", "scenes"))
"""The same inside `benchmark`; folders of one layer do not import each other."""
PURE = ("errors", "io", "labels", "losses", "rendering", "evaluation.metrics")
DATAPARSER_HOST_MODULES = (
    "nerfstudio.cameras",
    "nerfstudio.data.dataparsers.base_dataparser",
    "nerfstudio.data.dataparsers.nerfstudio_dataparser",
    "nerfstudio.data.scene_box",
    "nerfstudio.plugins.registry_dataparser",
    "nerfstudio.utils.rich_utils",
)
"""What nerfstudio can give while it is itself half imported, which is when it loads the dataparsers of plugins."""

METHODS = sorted(f"semantic_ns.methods.{path.parent.name}.method" for path in PACKAGE.glob("methods/*/method.py"))
REGISTRATION = f"""
{HIDE_PLUGIN}
import sys
import nerfstudio.scripts.train
from nerfstudio.plugins import registry, registry_dataparser

host = set(sys.modules)
registry.entry_points = registry_dataparser.entry_points = importlib.metadata.entry_points = _original
methods, _ = registry.discover_methods()
dataparsers, _ = registry_dataparser.discover_dataparsers()
import {", ".join(METHODS)}, semantic_ns.dataparsers.specifications
print(*methods, *dataparsers)
print(*host)
print(*sys.modules)
"""
"""The host alone, and then what it finds of this package; prints what it found, and the modules before and after."""


def is_in(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def room(module: str) -> str:
    """The folder, or the module at the top, of `semantic_ns.<module>`; a compiled twin belongs to its formula."""
    return module.partition(".")[0].replace("_numba", "")


def layer(module: str) -> int:
    """Number of the layer of `semantic_ns.<module>`."""
    found = [number for number, names in enumerate(LAYERS) if room(module) in names]
    assert len(found) == 1, f"semantic_ns.{room(module)} belongs to {len(found)} layers: name it once in LAYERS"
    return found[0]


@cache
def modules() -> dict[str, ast.Module]:
    """All modules of the package with code, by their name below `semantic_ns`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = (
            ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__").removesuffix("__init__")
        )
        if name:
            found[name] = ast.parse(path.read_text())
    return found


def imported(node: ast.AST) -> Iterator[str]:
    """Names of the modules that the import statements in `node` name, functions and type checking included."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide the direction"
            base = child.module or ""
            # `from a import b` may import the module a.b
            yield from (f"{base}.{alias.name}" for alias in child.names)


@cache
def imports() -> dict[str, tuple[str, ...]]:
    """What all modules of the package import, by their name below `semantic_ns`."""
    return {name: tuple(imported(tree)) for name, tree in modules().items()}


def imported_at_once(node: ast.AST) -> Iterator[str]:
    """The same, without those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from imported(ast.Module([child], []))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported_at_once(child)


def against_the_direction(imports: dict[str, tuple[str, ...]]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if other.startswith("semantic_ns.") and layer(other.removeprefix("semantic_ns.")) > layer(name)
    ]


def test_imports_go_one_way() -> None:
    assert against_the_direction(imports()) == []


@pytest.mark.parametrize(
    "source", ["import semantic_ns.cli.export_labels", "def f():\n    from semantic_ns import trainer"]
)
def test_an_import_the_other_way_is_found(source: str) -> None:
    found = tuple(imported(ast.parse(source)))
    assert len(against_the_direction({"losses": found})) == 1
    assert against_the_direction({"cli": found}) == []


def test_every_module_has_a_layer() -> None:
    names = modules()
    assert {"errors", "trainer", "host"} <= names.keys()
    for name in names:
        layer(name)


def test_every_name_in_a_layer_exists() -> None:
    assert {name for names in LAYERS for name in names} == {room(name) for name in modules()}


def test_no_folders_import_each_other_in_a_circle() -> None:
    """Folders of one layer could; LAYERS says nothing about their order."""
    pairs = {
        (room(name), room(other.removeprefix("semantic_ns.")))
        for name, others in imports().items()
        for other in others
        if other.startswith("semantic_ns.")
    }
    assert len(pairs) > 20
    sorter = TopologicalSorter[str]()
    for user, used in pairs:
        if user != used:
            sorter.add(user, used)
    sorter.prepare()  # raises CycleError otherwise


def test_a_benchmark_imports_the_runner_and_reports_and_no_other_benchmark() -> None:
    depth = {folder: number for number, folders in enumerate(BENCHMARK_LAYERS) for folder in folders}
    pairs = {
        (name.split(".")[1], other.split(".")[2])
        for name, others in imports().items()
        if name.startswith("benchmark.")
        for other in others
        if other.startswith("semantic_ns.benchmark.")
    }
    assert {folder for pair in pairs for folder in pair} == set(depth)
    assert [pair for pair in pairs if pair[0] != pair[1] and depth[pair[1]] >= depth[pair[0]]] == []


def imports_of_tests(sources: dict[str, str]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, source in sources.items()
        # A source that names no such module is not parsed, which takes seconds for all of them.
        if "test_" in source.replace("def test_", "").replace("pytest_", "")
        for other in imported(ast.parse(source))
        if any(part.startswith("test_") for part in other.split("."))
    ]


def test_no_test_module_imports_another() -> None:
    sources = {path.relative_to(TESTS).as_posix(): path.read_text() for path in TESTS.rglob("*.py")}
    assert len(sources) > 100
    assert imports_of_tests(sources) == []


@pytest.mark.parametrize(
    "source", ["import test_rays", "from tests import test_rays", "def f():\n    from test_rays import make_cameras"]
)
def test_an_import_of_a_test_module_is_found(source: str) -> None:
    assert len(imports_of_tests({"test_batch.py": source})) == 1


def test_folders_of_tests_are_no_packages() -> None:
    """A package `tests/encodings` or `tests/io` would hide the one of Python from what finds it in `sys.path`."""
    assert [path for path in TESTS.rglob("__init__.py") if path.parent.name != "support"] == []


def test_dataparsers_name_only_what_the_half_imported_host_can_give() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in modules().items()
        if is_in(name, "dataparsers")
        for other in imported_at_once(tree)
        if is_in(other, "nerfstudio") and not any(is_in(other, allowed) for allowed in DATAPARSER_HOST_MODULES)
    ]
    assert wrong == []


loaded_after = cache(fresh_process.loaded_after)


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_pure_modules_load_no_nerfstudio() -> None:
    names = [f"semantic_ns.{name}" for name in modules() if any(is_in(name, pure) for pure in PURE)]
    assert len(names) >= 4
    assert "nerfstudio" not in packages(loaded_after(f"import {', '.join(names)}"))


def test_importing_the_package_loads_nothing() -> None:
    assert not {"torch", "numpy", "nerfstudio"} & packages(loaded_after("import semantic_ns"))


@cache
def registered() -> tuple[set[str], set[str], set[str]]:
    """Names that the host finds of this package, and the packages that are loaded before it does and afterwards."""
    process = fresh_process.run_python(REGISTRATION)
    assert process.returncode == 0, process.stderr
    names, host, ours = (set(line.split()) for line in process.stdout.splitlines()[-3:])
    return names, packages(host), packages(ours)


def test_registration_loads_no_heavy_package() -> None:
    # These cost every ns-* command seconds, or are not everywhere.
    names, _, ours = registered()
    assert not {"numba", "open3d", "imageio_ffmpeg"} & ours
    assert "nerfstudio" in ours
    assert {"semantic-nerf", "semantic-data"} <= names


def test_registration_loads_no_package_that_the_host_does_not_load_itself() -> None:
    _, host, ours = registered()
    assert "semantic_ns" not in host
    assert ours - host == {"semantic_ns"}


def test_a_loaded_package_is_seen() -> None:
    assert "numba" in packages(loaded_after("import numba"))
