"""The viewer's menu of scenes, for models that know many.

Imports nerfstudio's viewer, hence viser: import this module where a model is built, not at the top of a module that
registers methods.
"""

from collections.abc import Sequence

from nerfstudio.viewer.viewer_elements import ViewerDropdown
from torch import nn


class SceneMenu(nn.Module):
    """A menu of scenes; a module without parameters, as `SemanticPanel` is.

    Args:
        names: names of the scenes that can be shown.
        shown: number of the scene that is shown first; None if it is none of them, which leaves the menu out.
    """

    def __init__(self, names: Sequence[str], shown: int | None) -> None:
        super().__init__()
        self._names, self._shown = tuple(names), shown
        self.menu: ViewerDropdown[str] | None = None
        if shown is not None and len(self._names) > 1:
            self.menu = ViewerDropdown(
                "Scene",
                self._names[shown],
                list(self._names),
                hint="Scene from whose frames views are rendered; the cameras drawn are those of the first one",
            )

    @property
    def number(self) -> int | None:
        """Number of the chosen scene."""
        return self._shown if self.menu is None else self._names.index(self.menu.value)
