"""The viewer's widgets, without a browser."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import viser
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement
from torch import nn

from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.viewer.overlay import blend, highlight
from semantic_ns.viewer.panel import ALL_CLASSES, SemanticPanel, legend_markdown

NAMES = ("wall", "lamp", 'odd {"name"} <b>')


def make_panel() -> SemanticPanel:
    colors = ((10, 20, 30), (200, 0, 0), (0, 0, 250))
    return SemanticPanel(Taxonomy((3, 7, 9), NAMES, colors, (False, True, True), 0))


class FakePipeline(nn.Module):
    """A pipeline as the viewer sees it: a module whose model holds the panel."""

    def __init__(self) -> None:
        super().__init__()
        self._model = nn.Module()
        self._model.panel = make_panel()

    @property
    def model(self) -> nn.Module:
        return self._model


@pytest.fixture
def server() -> Iterator[viser.ViserServer]:
    """A viewer server without a client, on a port that is free."""
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield server
    server.stop()


def test_the_viewer_finds_the_widgets_in_their_order() -> None:
    found = parse_object(FakePipeline(), ViewerElement, "Custom Elements")
    assert [(path.split("/")[:-1], element.name) for path, element in found] == [
        (["Custom Elements", "model", "panel"], name) for name in ("Overlay", "Class", "Classes")
    ]


def test_the_panel_adds_nothing_to_a_checkpoint() -> None:
    panel = make_panel()
    assert not panel.state_dict()
    assert not list(panel.parameters())


def test_the_widgets_work_before_any_viewer_is_open() -> None:
    panel = make_panel()
    assert panel.overlay_opacity == 0.5
    assert panel.highlighted_class is None


def test_the_panel_reads_what_the_widgets_are_set_to(server: viser.ViserServer) -> None:
    panel = make_panel()
    for _, element in parse_object(panel, ViewerElement, ""):
        element.install(server)
    panel.a_opacity.value = 0.25
    panel.b_class.value = "lamp"
    assert panel.overlay_opacity == 0.25
    assert panel.highlighted_class == 1
    panel.b_class.value = ALL_CLASSES
    assert panel.highlighted_class is None


def test_the_widgets_can_be_hidden_and_removed(server: viser.ViserServer) -> None:
    for _, element in parse_object(make_panel(), ViewerElement, ""):
        element.install(server)
        element.set_hidden(True)
        element.remove()
        assert element.gui_handle is None


def test_callbacks_do_not_wait_for_a_render() -> None:
    """The viewer calls them while it holds the lock that a render needs: waiting would never end."""
    lock = threading.Lock()

    def call(callback: Callable[[Any], Any], element: ViewerElement[Any]) -> None:
        with lock:
            callback(element)

    for _, element in parse_object(make_panel(), ViewerElement, ""):
        thread = threading.Thread(target=call, args=(element.cb_hook, element), daemon=True)
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive(), element.name
    assert not lock.locked()


def test_the_legend_shows_the_colour_and_the_name_of_each_class() -> None:
    content = make_panel().c_legend.content
    for name, color in zip(NAMES, ("rgb(10, 20, 30)", "rgb(200, 0, 0)", "rgb(0, 0, 250)"), strict=True):
        (row,) = [line for line in content.splitlines() if color in line]
        assert json.dumps(name) in row


def test_a_name_cannot_be_taken_for_markup() -> None:
    content = legend_markdown("t", ["</div>{alert(1)}"], [(1, 2, 3)])
    assert content.count("</div>{alert(1)}") == 1
    assert '{"</div>{alert(1)}"}' in content


@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
def test_the_overlay_blends_linearly(opacity: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rgb, colormap = torch.rand(2, 4, 3, generator=generator)
    expected = [
        [(1 - opacity) * a + opacity * b for a, b in zip(x, y, strict=True)]
        for x, y in zip(rgb.tolist(), colormap.tolist(), strict=True)
    ]
    torch.testing.assert_close(blend(rgb, colormap, opacity), torch.tensor(expected))


def test_a_picked_class_keeps_its_overlay_and_the_rest_turns_grey() -> None:
    generator = torch.Generator().manual_seed(1)
    rgb, overlay = torch.rand(2, 5, 3, generator=generator)
    labels = torch.tensor([0, 1, 1, 2, 0])[:, None]
    shown = highlight(rgb, overlay, labels, 1)
    for pixel, label in zip(range(5), [0, 1, 1, 2, 0], strict=True):
        if label == 1:
            assert torch.equal(shown[pixel], overlay[pixel])
        else:
            assert len(set(shown[pixel].tolist())) == 1
            assert float(shown[pixel, 0]) < float(rgb[pixel].mean())


def test_compose_follows_the_widgets() -> None:
    panel = make_panel()
    rgb, colormap = torch.full((2, 3), 0.8), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    labels = torch.tensor([[0], [1]])
    assert torch.equal(panel.compose(rgb, colormap, labels), blend(rgb, colormap, 0.5))
    panel.a_opacity.value = 1.0
    assert torch.equal(panel.compose(rgb, colormap, labels), colormap)
    panel.b_class.value = "wall"
    assert torch.equal(panel.compose(rgb, colormap, labels)[0], colormap[0])
    assert not torch.equal(panel.compose(rgb, colormap, labels)[1], colormap[1])
