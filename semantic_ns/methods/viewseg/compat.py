"""Defects of the released code of ViewSeg that published numbers may depend on, each with a switch."""

from dataclasses import dataclass
from typing import Literal

from semantic_ns.methods.defects import Defects

Defect = Literal[
    "released-wiring", "unmasked-views", "aligned-corners", "fewer-fine-samples", "alternating-steps", "all"
]
"""Names of the defects, see :class:`Compat`; `all` means each of them."""


@dataclass(frozen=True)
class Compat(Defects):
    """Which defects of the released code are restored; by default none.

    Attributes:
        released_wiring: Residual blocks before the fusion are skipped, and so is the first block of each branch: what
            stands before the fusion is one affine map of the mean code and the mean features. By default each view
            passes three blocks, and each branch has two.
        unmasked_views: The mean goes over all views. A point outside an image adds features of 0, and one behind a
            camera adds what its mirror image shows. By default only the views that see a point count, or all where none
            does.
        aligned_corners: Features and colours are read as if the first and last pixel centre were the edges of the
            image, up to half a pixel off. By default edges are edges.
        fewer_fine_samples: The fine pass adds as many samples as the coarse one has (64). By default it adds 128.
        alternating_steps: Rays of targets and rays of sources train in turns, each in steps of its own, as the two
            optimiser steps of the released loop do. By default one step trains their sum, as in equation (6).
    """

    released_wiring: bool = False
    unmasked_views: bool = False
    aligned_corners: bool = False
    fewer_fine_samples: bool = False
    alternating_steps: bool = False
