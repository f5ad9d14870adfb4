"""What the speed benchmark compares with and neither nerfstudio nor this package has: a model and a dataparser."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Int, Int16
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.nerfacto_field import NerfactoField
from nerfstudio.model_components.renderers import SemanticRenderer
from nerfstudio.models import nerfacto
from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig
from numpy import ndarray
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParser, AutoDataParserConfig
from semantic_ns.labels.taxonomy import VOID, Taxonomy


class RememberingField(NerfactoField):
    """Nerfacto's field; keeps the logits of its last samples, for which nerfacto's rendering has no use."""

    logits: Tensor

    def forward(self, ray_samples: RaySamples, compute_normals: bool = False) -> Any:
        """Field outputs of the samples."""
        outputs = super().forward(ray_samples, compute_normals)
        self.logits = outputs[FieldHeadNames.SEMANTICS]
        return outputs


@dataclass
class PerSampleHeadModelConfig(NerfactoModelConfig):
    """Options of `PerSampleHeadModel`; the last two as in nerfstudio's semantic-nerfw."""

    _target: type = field(default_factory=lambda: PerSampleHeadModel)
    semantic_loss_weight: float = 1.0
    """Weight of the cross-entropy."""
    pass_semantic_gradients: bool = False
    """Whether the semantic loss also trains the geometry."""


class PerSampleHeadModel(NerfactoModel):
    """Nerfacto with the semantic head of nerfstudio's semantic-nerfw: C logits a sample, composited one by one."""

    config: PerSampleHeadModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    field: RememberingField

    def populate_modules(self) -> None:
        """Build nerfacto around a field with the head."""
        taxonomy: Taxonomy = self.kwargs["metadata"][keys.TAXONOMY]
        with_head = partial(
            RememberingField,
            use_semantics=True,
            num_semantic_classes=taxonomy.num_classes,
            pass_semantic_gradients=self.config.pass_semantic_gradients,
        )
        with patch.object(nerfacto, "NerfactoField", with_head):
            super().populate_modules()
        self.renderer_semantics = SemanticRenderer()
        self.cross_entropy_loss = torch.nn.CrossEntropyLoss(ignore_index=VOID)
        self.colors = taxonomy.color_table()
        # At evaluation nerfacto gives no weights away.
        self.renderer_accumulation.register_forward_pre_hook(self._remember_weights, with_kwargs=True)

    def _remember_weights(self, module: Any, arguments: Any, options: dict[str, Tensor]) -> None:
        del module, arguments
        self.weights = options["weights"]

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Nerfacto's outputs, `semantics` [rays, C] (logits) and `semantics_colormap` [rays, 3]."""
        outputs: dict[str, Any] = super().get_outputs(ray_bundle)
        weights = self.weights if self.config.pass_semantic_gradients else self.weights.detach()
        logits = self.renderer_semantics(self.field.logits, weights=weights)
        colors = self.colors.to(logits.device)[logits.softmax(dim=-1).argmax(dim=-1)]
        return outputs | {"semantics": logits, "semantics_colormap": colors}

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: Mapping[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Nerfacto's losses and the cross-entropy."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        labels = batch["semantics"][..., 0].long().to(self.device)
        cross_entropy = self.cross_entropy_loss(outputs["semantics"], labels)
        return losses | {"semantics_loss": self.config.semantic_loss_weight * cross_entropy}


@dataclass(frozen=True)
class FoldedTaxonomy(Taxonomy):
    """A scene's classes folded modulo a smaller number, or filled up to a larger one with classes that never occur."""

    scene: Taxonomy = field(kw_only=True)

    def encode(self, raw: Int[ndarray, "*shape"], where: str) -> Int16[ndarray, "*shape"]:
        """Source ids to -1..C-1."""
        labels = self.scene.encode(raw, where)
        return np.where(labels == VOID, labels, labels % self.num_classes)


def folded(scene: Taxonomy, num_classes: int) -> FoldedTaxonomy:
    """The classes of a scene made C: the first ones of the scene, then unused ones."""
    missing = max(0, num_classes - scene.num_classes)
    first_id = 1 + max(*scene.source_ids, *scene.void_source_ids)
    return FoldedTaxonomy(
        source_ids=(*scene.source_ids, *range(first_id, first_id + missing))[:num_classes],
        names=(*scene.names, *(f"unused {number}" for number in range(missing)))[:num_classes],
        colors=(*scene.colors, *((128, 128, 128),) * missing)[:num_classes],
        is_thing=(*scene.is_thing, *(False,) * missing)[:num_classes],
        void_source_id=scene.void_source_id,
        # Ids that are folded away are read by the scene's own taxonomy.
        void_source_ids=scene.void_source_ids,
        scene=scene,
    )


@dataclass
class FoldedClassesDataParserConfig(AutoDataParserConfig):
    """A scene of any known layout with another number of classes."""

    _target: type = field(default_factory=lambda: FoldedClassesDataParser)
    num_classes: int = 13
    """C."""


class FoldedClassesDataParser(AutoDataParser):
    """Reads the scene and replaces its taxonomy."""

    config: FoldedClassesDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        outputs = super()._generate_dataparser_outputs(split, **kwargs)
        # A mapping of its own: the parser may give the same one twice.
        outputs.metadata = outputs.metadata | {
            keys.TAXONOMY: folded(outputs.metadata[keys.TAXONOMY], self.config.num_classes)
        }
        return outputs
