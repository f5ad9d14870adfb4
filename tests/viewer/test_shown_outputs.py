"""The viewer of nerfstudio, asked over its socket, sends of Gaussians what the model renders, and draws no more."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.utils import colormaps
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer.utils import get_camera
from nerfstudio.viewer.viewer import Viewer
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.viewer.shown_outputs import FRAMES_PER_S, draw_what_is_shown, names_shown, showing, shown_outputs
from support.registered import configured

SIDE, LONGEST_WAIT_S = 48, 60.0


@contextmanager
def viewer_of(scene: Path, folder: Path) -> Iterator[Any]:
    """A viewer of Gaussians that have not trained; its pictures are small, and not compressed."""
    trainer: Any = configured(semantic_splatfacto, scene, folder, 2).setup(local_rank=0, world_size=1)
    trainer.setup()
    pipeline = trainer.pipeline
    pipeline.update_classes()
    config = ViewerConfig(websocket_host="127.0.0.1", image_format="png")
    viewer = Viewer(config, folder / "log.txt", folder, pipeline, train_lock=cast(Any, Lock()))
    try:
        viewer.init_scene(pipeline.datamanager.train_dataset, "completed")
        viewer.control_panel._max_res.value = SIDE
        yield viewer
    finally:
        viewer.viser_server.stop()


def move(connection: ClientConnection, position: tuple[float, float, float]) -> None:
    """Look from a place, as viser's page says it."""
    connection.send(msgspec.msgpack.encode({
        "type": "ViewerCameraMessage", "wxyz": (0.5, -0.5, 0.5, -0.5), "position": position, "fov": 1.2,
        "aspect": 1.5, "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, 0.0, 1.0),
    }))  # fmt: skip


def wait_for_picture(connection: ClientConnection, expected: np.ndarray) -> bool:
    """Whether a picture arrives that is to the bit the expected one."""
    while True:
        try:
            message = msgspec.msgpack.decode(cast(bytes, connection.recv(timeout=LONGEST_WAIT_S)))
        except TimeoutError:
            return False
        for one in message if isinstance(message, list) else [message]:
            if one["type"] == "BackgroundImageMessage":
                picture = np.asarray(Image.open(io.BytesIO(one["rgb_bytes"])))
                if picture.shape == expected.shape and np.array_equal(picture, expected):
                    return True


def at_rest(viewer: Any, position: tuple[float, float, float], name: str) -> np.ndarray:
    """The picture of an output, of the size that is drawn when nothing moves, without the viewer."""
    (client,) = viewer.viser_server.get_clients().values()
    state = viewer.get_camera_state(client)
    state.c2w[:, 3] = torch.tensor(position, dtype=torch.float64) / 10
    camera = get_camera(state, int(SIDE / 1.5), SIDE)
    with viewer.train_lock:
        model = viewer.get_model().eval()
        model.set_background(torch.tensor(viewer.control_panel.background_color) / 255)
        outputs = model.get_outputs_for_camera(camera)
    picture = colormaps.apply_colormap(outputs[name], viewer.control_panel.colormap_options)
    return (picture * 255).to(torch.uint8).numpy()


def test_pictures_at_rest_are_those_of_the_model(nerfstudio_scene: Path, tmp_path: Path) -> None:
    with viewer_of(nerfstudio_scene, tmp_path) as viewer:
        panel, port = viewer.control_panel, viewer.viser_server.get_port()
        with connect(f"ws://127.0.0.1:{port}", max_size=None) as connection:
            for step, name in enumerate(("rgb", "semantics_colormap", "semantics_overlay", "depth")):
                place = (0.1 * step, 0.0, 0.2)
                move(connection, place)
                if step == 0:  # a first picture, with which the panel gets its outputs
                    assert wait_for_any(connection)
                panel._output_render.value = name
                assert wait_for_picture(connection, at_rest(viewer, place, name)), name


def wait_for_any(connection: ClientConnection) -> bool:
    """Whether any picture arrives."""
    while True:
        try:
            message = connection.recv(timeout=LONGEST_WAIT_S)
        except TimeoutError:
            return False
        if b"BackgroundImageMessage" in cast(bytes, message):
            return True


def machine_of(**model: Any) -> tuple[Any, Any]:
    """A state machine that shows colours of a model, and its panel."""
    panel = SimpleNamespace(output_render="rgb", split=False, split_output_render="depth", layer_depth=True)
    machine: Any = object.__new__(RenderStateMachine)
    machine.viewer = SimpleNamespace(control_panel=panel, get_model=lambda: SimpleNamespace(**model))
    machine.target_fps = 30
    return machine, panel


def test_a_model_is_told_what_is_shown_and_a_frame_of_another_output_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, sent = [], []
    monkeypatch.setattr(RenderStateMachine, "_render_img", lambda self, state: seen.append(shown_outputs()))
    monkeypatch.setattr(RenderStateMachine, "_send_output_to_viewer", lambda self, outputs: sent.append(outputs))
    draw_what_is_shown()
    machine, panel = machine_of(draws_what_is_shown=True)
    machine._render_img(None)
    machine._send_output_to_viewer("colours")
    panel.output_render = "depth"  # drawn, too, for what stands in the scene
    machine._send_output_to_viewer("depth")
    panel.output_render = "semantics_overlay"
    machine._send_output_to_viewer("what was not drawn")
    machine._render_img(None)
    machine._send_output_to_viewer("classes")
    assert seen == [{"rgb", "depth"}, {"semantics_overlay", "depth"}]
    assert sent == ["colours", "depth", "classes"]
    assert shown_outputs() is None
    assert machine.target_fps == FRAMES_PER_S

    other, panel = machine_of()
    other._render_img(None)
    panel.output_render = "normals"
    other._send_output_to_viewer("all there is")
    assert seen[-1] is None
    assert sent[-1] == "all there is"
    assert other.target_fps == 30


def test_the_viewer_is_told_once() -> None:
    draw_what_is_shown()
    told = RenderStateMachine._render_img
    draw_what_is_shown()
    assert RenderStateMachine._render_img is told


def test_a_split_picture_shows_two_outputs_and_nobody_else_is_told() -> None:
    panel = SimpleNamespace(output_render="rgb", split=True, split_output_render="accumulation", layer_depth=False)
    assert names_shown(panel) == {"rgb", "accumulation"}
    with showing(frozenset({"rgb"})):
        with showing(frozenset({"depth"})):
            assert shown_outputs() == {"depth"}
        assert shown_outputs() == {"rgb"}
    assert shown_outputs() is None
