"""What Gaussians need on CUDA and on a CPU, told without a device."""

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto.device_options import refuse_without_kernels


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
