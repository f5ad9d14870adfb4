"""Where `ns-viewer` listens: on this machine alone for a run of this package, elsewhere only if it is told so."""

import sys
from pathlib import Path

import pytest

from semantic_ns import host
from semantic_ns.viewer.local_host import with_local_host

LOCAL = ["--viewer.websocket-host", "127.0.0.1"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a run of this package, as far as it matters here."""
    path = tmp_path / "config.yml"
    path.write_text("!!python/object:semantic_ns.trainer.SemanticTrainerConfig\nmethod_name: semantic-nerf\n")
    return path


@pytest.mark.parametrize("program", ["ns-viewer", "/usr/bin/ns-viewer", "C:/env/ns-viewer.exe", "viewer/run_viewer.py"])
@pytest.mark.parametrize("form", ["--load-config {}", "--load-config={}", "--load_config {}"])
def test_a_run_of_this_package_is_shown_to_this_machine_alone(program: str, form: str, config: Path) -> None:
    arguments = [program, *form.format(config).split()]
    assert with_local_host(arguments) == [*arguments, *LOCAL]


@pytest.mark.parametrize(
    "named", ["--viewer.websocket-host 0.0.0.0", "--viewer.websocket-host=0.0.0.0", "--viewer.websocket_host=::"]
)
def test_a_host_that_is_named_counts(named: str, config: Path) -> None:
    arguments = ["ns-viewer", "--load-config", str(config), *named.split()]
    assert with_local_host(arguments) == arguments


def test_runs_of_other_methods_and_other_commands_stay_as_they_are(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("!!python/object:nerfstudio.engine.trainer.TrainerConfig\nmethod_name: nerfacto\n")
    for arguments in (
        ["ns-viewer", "--load-config", str(other)],
        ["ns-viewer", "--load-config", str(tmp_path / "missing.yml")],
        ["ns-viewer", "--load-config"],
        ["ns-viewer"],
        ["ns-render", "camera-path", "--load-config", str(config)],
        ["ns-train", "semantic-nerf"],
        [],
    ):
        assert with_local_host(arguments) == arguments


def test_nerfstudio_is_asked_for_this_machine_when_its_command_starts(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parser of `ns-viewer` itself, after the fixes that every `ns-*` command applies."""
    import tyro
    from nerfstudio.scripts.viewer.run_viewer import RunViewer

    monkeypatch.setattr(sys, "argv", ["ns-viewer", "--load-config", str(config)])
    host.prepare()
    host.prepare()
    assert tyro.cli(tyro.conf.FlagConversionOff[RunViewer]).viewer.websocket_host == "127.0.0.1"
