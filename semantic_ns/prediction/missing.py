"""Packages that only some networks need."""

from pathlib import Path

from semantic_ns.errors import SceneError


def missing_package(package: str, model: Path) -> SceneError:
    """The error for a package of the extra `predict` that is not installed."""
    return SceneError(
        f"Expected the package {package} for the network {model}, found none; install it with pip install "
        "'semantic-ns[predict]'."
    )
