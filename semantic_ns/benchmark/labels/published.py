"""What the paper prints for each mode, and what is asked of this project.

Zhi et al., ICCV 2021, Tables 1 to 4: means over Replica scenes of 180 training frames of 320x240, 200 000 steps. Which
of the two mIoUs it prints is not stated. The bars are for `miou_present` on the rendered room with 60 training frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Scores in [0, 1] as printed; None: not printed."""

    miou: float
    class_accuracy: float | None = None
    pixel_accuracy: float | None = None


@dataclass(frozen=True)
class Reference:
    """What a mode is compared with.

    Attributes:
        paper: the paper's score after training.
        paper_input: the corrupted labels themselves.
        bar: `miou_present` to reach.
        bar_over_input: margin by which `miou_present` has to exceed that of the corrupted labels.
    """

    paper: Figures | None = None
    paper_input: Figures | None = None
    bar: float | None = None
    bar_over_input: float | None = None


NOTHING = Reference()
CNN = Reference(Figures(0.680, 0.772, 0.870), Figures(0.659, 0.763, 0.855), bar_over_input=0.0)

REFERENCES: Mapping[str, Reference] = {
    "all": Reference(bar=0.94),
    "click": Reference(Figures(0.602, 0.937, 0.908), bar=0.65),
    "1%": Reference(Figures(0.706, 0.934, 0.944), bar=0.75),
    "5%": Reference(Figures(0.836, 0.946, 0.971), bar=0.85),
    "10%": Reference(Figures(0.884, 0.957, 0.980), bar=0.89),
    "sparse-0.9": Reference(bar=0.85),
    "pixel-noise-50%": Reference(Figures(0.951, 0.969, 0.994), Figures(0.191, 0.534, 0.533), bar=0.93),
    "pixel-noise-90%": Reference(Figures(0.877, 0.908, 0.989), Figures(0.041, 0.145, 0.145), bar=0.75),
    "region-sort-30%": Reference(Figures(0.895), Figures(0.866), bar_over_input=0.029),
    "region-sort-40%": Reference(Figures(0.893), Figures(0.842)),
    "region-sort-50%": Reference(Figures(0.803), Figures(0.793)),
    "region-even-30%": Reference(Figures(0.796), Figures(0.741), bar_over_input=0.055),
    "region-even-40%": Reference(Figures(0.747), Figures(0.692)),
    "region-even-50%": Reference(Figures(0.733), Figures(0.684)),
    "super-dense-8": Reference(Figures(0.610, 0.710, 0.923), bar=0.65),
    "super-dense-16": Reference(Figures(0.433, 0.535, 0.855), bar=0.47),
    "super-sparse-8": Reference(Figures(0.887, 0.928, 0.987), bar=0.89),
    "super-sparse-16": Reference(Figures(0.800, 0.866, 0.977), bar=0.80),
}
