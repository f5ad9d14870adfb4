"""Names for image files that are file names, too."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path


def names_of_images(images: Sequence[Path]) -> list[str]:
    """A name for each image file: without suffix, with its folders where two would be equal, else with a number.

    Folders are those below the one that holds all images, joined by `_`. The second of two names that are equal even
    so ends with `_2`, or with the next number that no other image has.
    """
    paths = [Path(path) for path in images]
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    common = Path(os.path.commonpath([path.parent for path in paths]))
    names = ["_".join(path.relative_to(common).with_suffix("").parts) for path in paths]
    taken, given = set(names), set()
    for place, name in enumerate(names):
        if name in given:
            numbered = (f"{name}_{number}" for number in itertools.count(2))
            names[place] = next(other for other in numbered if other not in taken)
        given.add(names[place])
        taken.add(names[place])
    return names
