"""Ids of instances as Cityscapes has them (Cordts et al. 2016): one number says class and thing of a pixel.

A thing that is told apart has 1000 times the id of its class, plus its number among those of its class. Every other
pixel has the id of its class: that of stuff or void, and that of things which are not told apart (a group).
"""

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

INSTANCE_IDS, LABEL_IDS = "_gtFine_instanceIds", "_gtFine_labelIds"
"""Endings of the names of images, without suffix, of ids of instances and of ids of classes."""
INSTANCES_PER_CLASS = 1000
"""Ids of instances of a class; ids of classes are below it."""


def class_ids_of(ids: Integer[ndarray, "height width"]) -> Int64[ndarray, "height width"]:
    """The id of the class of each pixel."""
    wide = ids.astype(np.int64)
    return np.where(wide >= INSTANCES_PER_CLASS, wide // INSTANCES_PER_CLASS, wide)


def things_of(ids: Integer[ndarray, "height width"]) -> Int64[ndarray, "height width"]:
    """The id of each pixel of a thing that is told apart, 0 elsewhere."""
    wide = ids.astype(np.int64)
    return np.where(wide >= INSTANCES_PER_CLASS, wide, 0)
