"""Pipelines of one small training, on few labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.registered import SMALL, configured

CLICKS = CorruptionConfig(propagation=0.0, seed=1)


@contextmanager
def pipeline_of(scene: Path, output: Path, corruption: CorruptionConfig, method: Any = semantic_nerf) -> Iterator[Any]:
    from nerfstudio.utils import writer  # nerfstudio's configurations import it and are imported by it

    sizes: dict[str, Any] = {"num_levels": 4, "log2_hashmap_size": 8}
    if hasattr(method.config.pipeline.model, "proposal_net_args_list"):
        sizes["proposal_net_args_list"] = SMALL["semantic-nerf"]["proposal_net_args_list"]
    config = configured(method, scene, output, 10, **sizes)
    config.pipeline.datamanager.corruption = corruption  # pyright: ignore[reportAttributeAccessIssue]
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    try:
        yield trainer.pipeline
    finally:
        for event_writer in writer.EVENT_WRITERS:
            if isinstance(event_writer, writer.TensorboardWriter):
                event_writer.tb_writer.close()
        writer.EVENT_WRITERS.clear()
