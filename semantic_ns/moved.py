"""Where modules and options went, so that older runs still open and older command lines still work.

nerfstudio 1.1.5 writes the module of every configuration class into a run's `config.yml` and imports it by that name
when the run is opened. A module that moved is therefore found under its old name as well. tyro makes the names of
options out of the configuration classes and knows no second name for one of them, so an option that moved is renamed
before the command line is parsed.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "semantic_ns.active.schedule": "semantic_ns.active_learning.rounds.schedule",
    "semantic_ns.evaluation.pipeline": "semantic_ns.pipeline",
    "semantic_ns.models.semantic_nerf": "semantic_ns.methods.semantic_nerf.model",
    "semantic_ns.models.semantic_ngp": "semantic_ns.methods.semantic_ngp.model",
    "semantic_ns.vanilla.datamanager": "semantic_ns.methods.semantic_nerf_vanilla.datamanager",
    "semantic_ns.vanilla.model": "semantic_ns.methods.semantic_nerf_vanilla.model",
}
"""Old name to present name."""
MOVED_OPTIONS = {
    "--pipeline.datamanager.active.": "--pipeline.active.",
    "--pipeline.propagation.spreading.colours": "--pipeline.propagation.spreading.colors",
    "--pipeline.propagation.spreading.families": "--pipeline.propagation.spreading.clusters",
}
"""Old start of options of `ns-train` to the present one."""
_FOLDERS = {name.rpartition(".")[0] for name in MOVED}


class _MovedModule(Loader):
    """Puts the module of the present name in the place of the old one."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # noqa: ARG002 - of the protocol
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name in MOVED:
            sys.modules[name] = import_module(MOVED[name])


class _MovedModules(MetaPathFinder):
    """Finds old names; asked only after everything that exists."""

    def find_spec(
        self,
        fullname: str,
        path: Iterable[str] | None,  # noqa: ARG002 - of the protocol; that of a namespace package is no sequence
        target: ModuleType | None = None,  # noqa: ARG002 - of the protocol
    ) -> ModuleSpec | None:
        if fullname in MOVED or fullname in _FOLDERS:
            return ModuleSpec(fullname, _MovedModule(), is_package=fullname in _FOLDERS)
        return None


def find_moved_modules() -> None:
    """Let old names be imported; calling it again changes nothing."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())


def present_options(arguments: Sequence[str]) -> list[str]:
    """Arguments of `ns-train` with the present names of options; hyphens and underscores stay as they are."""
    found = list(arguments)
    for place, argument in enumerate(found):
        for old, new in MOVED_OPTIONS.items():
            if argument.startswith(old):
                found[place] = new + argument.removeprefix(old)
    return found


def former_options(arguments: Sequence[str]) -> list[str]:
    """The inverse of `present_options`, for what was named after a command line of before."""
    found = list(arguments)
    for place, argument in enumerate(found):
        for old, new in MOVED_OPTIONS.items():
            if argument.startswith(new):
                found[place] = old + argument.removeprefix(new)
    return found
