"""Arguments of `ns-train`, tried before many trainings begin with them."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.moved import present_options


def training_config(arguments: Sequence[str]) -> Any:
    """The trainer's configuration that `ns-train` would make of these arguments.

    Raises:
        SceneError: if it would refuse them.
    """
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            config: Any = tyro.cli(AnnotatedBaseConfigUnion, args=present_options(arguments))
    except SystemExit as error:
        raise SceneError(
            f"Expected options that ns-train takes, found {' '.join(arguments)!r}: {_plain(said.getvalue())}"
        ) from error
    config.pipeline.datamanager.data = config.data
    config.vis = "none"
    config.logging.local_writer.enable = False
    return config


def _plain(box: str) -> str:
    """The first sentence of tyro's error box, without its border."""
    lines = [line.strip("╭╮╰╯│─ ") for line in box.splitlines()]
    return " ".join([line for line in lines if line][1:3])


def refuse_unknown_method(method: str) -> None:
    """Check the name of a method.

    Raises:
        SceneError: if nerfstudio does not know it.
    """
    from nerfstudio.configs.method_configs import all_methods

    if method not in all_methods:
        raise SceneError(f"Expected a method that ns-train knows, found {method!r}; ns-train --help lists them.")


def name_in_paths(method: str) -> str:
    """The method's name in its own configuration, after which nerfstudio names the folders of its runs.

    Variants share it: nerfacto-big is called nerfacto there.

    Raises:
        SceneError: if nerfstudio does not know the method.
    """
    refuse_unknown_method(method)
    from nerfstudio.configs.method_configs import all_methods

    return all_methods[method].method_name
