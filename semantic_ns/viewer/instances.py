"""Things one by one in the viewer: what a ray shows has the colour of the nearest exported thing of its class."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.instances.colors import instance_colors
from semantic_ns.instances.nearest import NearestOfClass
from semantic_ns.instances.table import InstanceTable
from semantic_ns.labels.taxonomy import VOID, Taxonomy


class InstanceColors:
    """The colours of exported instances at places of a scene.

    Args:
        table: The instances.
        taxonomy: The classes of the scene.
        world_from_scene: From scene units to the world of the data set's files.

    Raises:
        SceneError: if the instances are of classes that the scene does not have.
    """

    def __init__(self, table: InstanceTable, taxonomy: Taxonomy, world_from_scene: Float[Tensor, "3 4"]) -> None:
        unknown = sorted(set(np.unique(table.class_ids).tolist()) - set(taxonomy.source_ids))
        if unknown:
            raise SceneError(
                f"Expected instances of the classes of this run, found the class id "
                f"{unknown[0]}, which it does not have; export the instances of this run."
            )
        number_of = {source_id: number for number, source_id in enumerate(taxonomy.source_ids)}
        classes = np.array([number_of[int(number)] for number in table.class_ids], np.int64)
        self._nearest = NearestOfClass(table.positions, classes)
        self._world_from_scene = world_from_scene.double().numpy()
        colors = instance_colors(int(table.ids.max(initial=0)))
        # The last place serves -1, which is no thing.
        self._colors = torch.from_numpy(colors[np.append(table.ids, 0)]).float() / 255

    @classmethod
    def read(cls, folder: Path, taxonomy: Taxonomy, world_from_scene: Float[Tensor, "3 4"]) -> "InstanceColors":
        """Those that `sns-export instances` wrote.

        Raises:
            SceneError: if there are none, the file is damaged, or they are of other classes.
        """
        return cls(InstanceTable.read(folder), taxonomy, world_from_scene)

    def at(self, points: Float[Tensor, "points 3"], labels: Int64[Tensor, "points"]) -> Float[Tensor, "points 3"]:
        """The colour of the thing at each point in 0..1; black for stuff, void and places that are not finite.

        Args:
            points: Places in scene units.
            labels: The class of each, void -1.
        """
        matrix = self._world_from_scene
        world = points.detach().double().cpu().numpy() @ matrix[:, :3].T + matrix[:, 3]
        is_placed = np.isfinite(world).all(axis=1)
        classes = np.where(is_placed, labels.cpu().numpy(), VOID)
        found = self._nearest.find(np.where(is_placed[:, None], world, 0.0), classes)
        return self._colors[torch.from_numpy(found)].to(points.device)
