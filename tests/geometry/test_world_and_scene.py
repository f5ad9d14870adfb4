"""Scene units and the world of the data set's files."""

from pathlib import Path

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from semantic_ns.geometry.world import scene_from_world, world_from_scene


def test_the_way_from_the_world_to_the_scene_and_back_ends_where_it_began() -> None:
    turn = torch.linalg.qr(torch.randn((3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    transform = torch.cat([turn, torch.tensor([[2.0], [-7.0], [0.3]])], dim=1)
    camera = Cameras(torch.eye(4)[None, :3], 1.0, 1.0, 1.0, 1.0, 2, 2)
    outputs = DataparserOutputs(
        [Path("a.png")], camera, scene_box=SceneBox(torch.ones(2, 3)), dataparser_transform=transform,
        dataparser_scale=0.37,
    )  # fmt: skip
    points = torch.tensor([[1.0, 2, 3], [-4, 0, 9]], dtype=torch.float64)
    there, back = (to(outputs, torch.float64) for to in (scene_from_world, world_from_scene))
    of_scene = points @ there[:, :3].T + there[:, 3]
    torch.testing.assert_close(of_scene, 0.37 * (points @ turn.T + transform[:, 3]))
    torch.testing.assert_close(of_scene @ back[:, :3].T + back[:, 3], points)
