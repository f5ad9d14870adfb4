"""Which outputs nerfstudio's viewer is about to show, for models whose other outputs would take much of a frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

FRAMES_PER_S = 20
"""Frames a second for which the viewer makes pictures smaller while somebody moves; for other models it is 30."""
_SHOWN: ContextVar[frozenset[str] | None] = ContextVar("outputs that are shown", default=None)


def shown_outputs() -> frozenset[str] | None:
    """Names of the outputs that the viewer shows of the frame that this thread draws; None outside of a viewer."""
    return _SHOWN.get()


@contextmanager
def showing(names: frozenset[str]) -> Iterator[None]:
    """Inside it, in this thread, no other outputs are shown."""
    before = _SHOWN.set(names)
    try:
        yield
    finally:
        _SHOWN.reset(before)


def names_shown(panel: Any) -> frozenset[str]:
    """The outputs that nerfstudio's control panel asks for."""
    names = {panel.output_render}
    if panel.split:
        names.add(panel.split_output_render)
    if panel.layer_depth:
        names.add("depth")
    return frozenset(names)


def draw_what_is_shown() -> None:
    """Have nerfstudio's viewer tell models with `draws_what_is_shown` which outputs it shows.

    It asks a model for all outputs and shows one of them. For Gaussians the others take more time than that one, and
    the hook that it has, `get_outputs_for_camera`, does not say which one it is. Such a model gives stand-ins for the
    others, so that a frame whose output was changed while it was drawn is not sent: the change has asked for another.

    The viewer also makes pictures smaller while somebody moves, as far as 30 frames a second need it by the rays that
    it has drawn in a second. Gaussians take most of their time whatever the size is, so that pictures of an eighth of
    the pixels came hardly faster: these models are asked for fewer frames, of more pixels.
    """
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    render, send = RenderStateMachine._render_img, RenderStateMachine._send_output_to_viewer
    if hasattr(render, "original"):
        return

    def _render_img(self: Any, camera_state: Any) -> Any:
        if not getattr(self.viewer.get_model(), "draws_what_is_shown", False):
            self.drawn = None
            return render(self, camera_state)
        self.target_fps, self.drawn = FRAMES_PER_S, names_shown(self.viewer.control_panel)
        with showing(self.drawn):
            return render(self, camera_state)

    def _send_output_to_viewer(self: Any, *arguments: Any, **options: Any) -> None:
        if self.drawn is None or names_shown(self.viewer.control_panel) <= self.drawn:
            send(self, *arguments, **options)

    _render_img.original = render  # pyright: ignore[reportFunctionMemberAccess]
    RenderStateMachine._render_img = _render_img
    RenderStateMachine._send_output_to_viewer = _send_output_to_viewer
