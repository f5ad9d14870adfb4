"""What Gaussians need on CUDA and on a CPU, told without a device."""

from pathlib import Path

import pytest
import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto.device_options import (
    refuse_optimizers_of_another_device,
    refuse_without_kernels,
)
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.optimizer import SparseAdam
from support.registered import configured


def test_cuda_without_the_kernels_of_gsplat_is_one_sentence() -> None:
    def fails() -> object:
        raise RuntimeError("Error building extension 'gsplat_cuda': [1/12]\nptxas fatal")

    refuse_without_kernels(object)
    with pytest.raises(SceneError, match=r"found none that are compiled \(without a CUDA toolkit\); install"):
        refuse_without_kernels(lambda: None)
    with pytest.raises(
        SceneError, match=r"\(RuntimeError: Error building extension 'gsplat_cuda': \[1/12\]\); install"
    ):
        refuse_without_kernels(fails)


@pytest.mark.parametrize("is_on_cpu", [True, False])
def test_optimisers_of_another_device_are_refused(is_on_cpu: bool) -> None:
    means = torch.ones(2, 3, requires_grad=True)
    of_cpu, of_cuda = {"means": SparseAdam([means], 0.1)}, {"means": torch.optim.Adam([means], 0.1)}
    fit, other = (of_cpu, of_cuda) if is_on_cpu else (of_cuda, of_cpu)
    further = {"camera_opt": torch.optim.Adam([means], 0.1)}
    refuse_optimizers_of_another_device(fit | further, ["means", "quats"], is_on_cpu)
    with pytest.raises(SceneError, match="put CUDA_VISIBLE_DEVICES= before the command to train on a CPU"):
        refuse_optimizers_of_another_device(other | further, ["means", "quats"], is_on_cpu)


def test_a_training_on_a_cpu_with_the_optimisers_of_cuda_does_not_begin(nerfstudio_scene: Path, tmp_path: Path) -> None:
    config = configured(semantic_splatfacto, nerfstudio_scene, tmp_path, 2)
    config.optimizers["means"] = {"optimizer": AdamOptimizerConfig(lr=1e-4), "scheduler": None}
    with pytest.raises(SceneError, match="Expected the optimisers of a CPU"):
        config.setup(local_rank=0, world_size=1).setup()
