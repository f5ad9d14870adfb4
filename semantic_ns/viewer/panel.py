"""The viewer's widgets for classes: legend, overlay slider, class picker.

Imports nerfstudio's viewer, hence viser: import this module where a model is built, not at the top of a module that
registers methods.
"""

import json
from collections.abc import Sequence

from jaxtyping import Float, Int64
from nerfstudio.viewer.viewer_elements import ViewerDropdown, ViewerElement, ViewerSlider
from torch import Tensor, nn
from viser import ViserServer

from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.viewer.overlay import blend, highlight

ALL_CLASSES = "all classes"


class ViewerLegend(ViewerElement[None]):
    """A list of colours and names in the viewer's side panel; it takes no input.

    Args:
        name: Title of the list.
        names: Name of each class.
        colors: Colour of each class, 0..255.
    """

    def __init__(self, name: str, names: Sequence[str], colors: Sequence[tuple[int, int, int]]) -> None:
        super().__init__(name)
        self.content = legend_markdown(name, names, colors)

    def _create_gui_handle(self, viser_server: ViserServer) -> None:
        # A markdown handle is not an input handle, but has the members that nerfstudio uses: remove and visible.
        self.gui_handle = viser_server.gui.add_markdown(self.content, visible=self.visible)  # pyright: ignore[reportAttributeAccessIssue]

    def install(self, viser_server: ViserServer) -> None:
        """Add the list to the open folder of the side panel."""
        self._create_gui_handle(viser_server)


def legend_markdown(title: str, names: Sequence[str], colors: Sequence[tuple[int, int, int]]) -> str:
    """A legend in the markdown of the viewer (MDX: JSX elements and `{expressions}` are allowed).

    Names are written as JavaScript strings, so that no character of a name can be taken for markup.
    """
    rows = [
        f'<div style={{{{display: "flex", alignItems: "center", lineHeight: 1.4, fontSize: "0.8em"}}}}>'
        f'<span style={{{{background: "rgb({red}, {green}, {blue})", width: "1em", height: "1em", '
        f'marginRight: "0.5em", flex: "none", border: "1px solid gray"}}}} />{{{json.dumps(name)}}}</div>'
        for name, (red, green, blue) in zip(names, colors, strict=True)
    ]
    return "\n\n".join([f"<b>{{{json.dumps(title)}}}</b>", *rows])


class SemanticPanel(nn.Module):
    """The widgets, and what they are set to.

    A module without parameters: nerfstudio looks for widgets only in modules below the pipeline (its `parse_object`),
    and `state_dict` stays as it is. Widgets are shown in the order of their attribute names, hence the letters.
    No callback is set: nerfstudio renders again after each change, and the next render reads the values.

    Args:
        taxonomy: Classes of the scene.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        self._names = tuple(taxonomy.names)
        self.a_opacity: ViewerSlider[float] = ViewerSlider(
            "Overlay", 0.5, 0.0, 1.0, 0.05, hint="How strongly semantics_overlay shows the classes over the colours"
        )
        self.b_class: ViewerDropdown[str] = ViewerDropdown(
            "Class", ALL_CLASSES, [ALL_CLASSES, *self._names], hint="Show only this class in semantics_overlay"
        )
        self.c_legend = ViewerLegend("Classes", self._names, taxonomy.colors)

    @property
    def overlay_opacity(self) -> float:
        """Share of the class colours in the overlay, 0..1."""
        return float(self.a_opacity.value)

    @property
    def highlighted_class(self) -> int | None:
        """The only class to show, 0..C-1, or None for all."""
        name = self.b_class.value
        return self._names.index(name) if name in self._names else None

    def compose(
        self,
        rgb: Float[Tensor, "*pixels 3"],
        colormap: Float[Tensor, "*pixels 3"],
        labels: Int64[Tensor, "*pixels 1"],
    ) -> Float[Tensor, "*pixels 3"]:
        """The output `semantics_overlay`: class colours over the rendered colours, as the widgets are set.

        Args:
            rgb: Rendered colours in [0, 1].
            colormap: Class colours in [0, 1].
            labels: Classes 0..C-1.
        """
        overlay = blend(rgb, colormap, self.overlay_opacity)
        only = self.highlighted_class
        return overlay if only is None else highlight(rgb, overlay, labels, only)
