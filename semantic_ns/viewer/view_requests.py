"""Requests for pictures of a model while it trains, from another process: files in a folder.

The training looks for a new request after each step, which costs it nothing else. The folder holds

- `cameras.json`: the training images and their cameras, written before the first step;
- `asked.json`: the request, a pose and a size with a number;
- `picture_<number>.jpg`: the answer to the request of this number, of which only the newest is kept.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semantic_ns.io.writing import write_json

VARIABLE = "SEMANTIC_NS_VIEWS"
"""Environment variable that names the folder to a training."""
CAMERAS, ASKED = "cameras.json", "asked.json"


@dataclass(frozen=True)
class ViewRequest:
    """A picture that is wanted.

    Attributes:
        number: Its number, another one each time.
        pose: Rows of the pose [3, 4] of the camera (OpenGL axes), scene units.
        vertical_fov: The angle between the upper and the lower border, radians.
        height, width: Its size, pixels.
    """

    number: int
    pose: Sequence[float]
    vertical_fov: float
    height: int
    width: int

    def ask(self, folder: Path) -> None:
        """Ask for it.

        Raises:
            OSError: if nothing can be written.
        """
        write_json(folder / ASKED, asdict(self))


def picture_path(folder: Path, number: int) -> Path:
    """Where the answer to a request is."""
    return folder / f"picture_{number}.jpg"
