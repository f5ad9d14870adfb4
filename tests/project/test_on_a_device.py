"""On a CUDA device: tensors meet where they are, a training step never waits, and fast ways equal the slow ones.

A fake device stands in for a real one (see `fake_cuda`): it computes nothing, so that gradients are left out.
"""

from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.pixel_samplers import PixelSamplerConfig
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio as PlainPeakSignalNoiseRatio

from semantic_ns.batch import NUM_UNIFORM, TRAINS_CLASSES, attach_targets
from semantic_ns.datamanagers.gathering_sampler import gather_by_index, gathered_by_kernel
from semantic_ns.datamanagers.labelled_pixel_sampler import add_labelled_rays
from semantic_ns.evaluation.color import PeakSignalNoiseRatio
from semantic_ns.geometry.rays import intrinsics_of, perspective_rays, poses_of, rays_by_formula
from support.cameras import make_cameras
from support.fake_cuda import WAITS_FOR_DEVICE, FakeCuda, fake_cuda
from support.image_batches import images
from support.ray_batches import batch, rays
from support.small_nerf import build, lean_config

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def bundle_on(cuda: FakeCuda) -> RayBundle:
    bundle = rays()
    assert bundle.camera_indices is not None
    return RayBundle(
        origins=cuda(bundle.origins),
        directions=cuda(bundle.directions),
        pixel_area=cuda(bundle.pixel_area),
        camera_indices=cuda(bundle.camera_indices),
        metadata=cuda.batch(bundle.metadata),
    )


def assert_on_device(values: dict[str, Any]) -> None:
    assert {tensor.device.type for tensor in values.values() if isinstance(tensor, Tensor)} == {"cuda"}


def test_the_fake_device_refuses_a_mixture_and_a_question() -> None:
    with fake_cuda() as cuda:
        there = cuda(torch.ones(3))
        with pytest.raises(RuntimeError, match="two different devices"):
            _ = there + torch.ones(3)
        with pytest.raises(WAITS_FOR_DEVICE):
            bool(there.any())


@pytest.mark.parametrize("changes", [{}, {"use_appearance_embedding": True, "num_proposal_iterations": 2}], ids=str)
@pytest.mark.parametrize("mixed_precision", [False, True])
@pytest.mark.parametrize("trains_classes", [False, True])
def test_a_step_of_semantic_nerf_stays_on_the_device_and_never_waits(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], mixed_precision: bool, trains_classes: bool
) -> None:
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    if changes:
        network = {"hidden_dim": 16, "log2_hashmap_size": 8, "num_levels": 5, "max_res": 32, "use_linear": False}
        changes = changes | {"proposal_net_args_list": [network] * 2, "num_proposal_samples_per_ray": (32, 16)}
    model = build(lean_config(hash_backend="torch", **changes)).train()
    with fake_cuda() as cuda:
        cuda.take(model)
        bundle, targets = bundle_on(cuda), cuda.batch(batch()) | {NUM_UNIFORM: 40, TRAINS_CLASSES: trains_classes}
        attach_targets(bundle, targets)
        with torch.autocast("cuda", enabled=mixed_precision):
            outputs = model(bundle)
            metrics = model.get_metrics_dict(outputs, targets)
            losses = model.get_loss_dict(outputs, targets, metrics)
    assert_on_device(losses | metrics)
    assert ("semantic_loss" in losses) == trains_classes
    assert all(loss.dtype == torch.float32 for loss in losses.values())


def test_what_is_seen_stays_on_the_device() -> None:
    model = build(lean_config(hash_backend="torch")).eval()
    with fake_cuda() as cuda, torch.no_grad(), model.raw_outputs():
        cuda.take(model)
        outputs = model(bundle_on(cuda))
    assert_on_device(outputs)
    assert {"semantics_labels", "planar_depth", "semantics_overlay"} <= outputs.keys()


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_pixels_of_images_on_the_device_are_drawn_there_without_waiting(share: float) -> None:
    plain = PixelSamplerConfig(num_rays_per_batch=16).setup()
    sampler = add_labelled_rays(plain, share, False) if share == 0 else gathered_by_kernel(plain)
    with fake_cuda() as cuda:
        drawn = sampler.sample(cuda.batch(images()))
        generated = perspective_rays(
            cuda(poses_of(make_cameras())), cuda(intrinsics_of(make_cameras())), drawn["indices"]
        )
    assert_on_device(drawn)
    assert drawn["semantics"].dtype == torch.int64
    assert_on_device({"origins": generated.origins, **generated.metadata})


def test_images_in_the_memory_of_the_cpu_are_gathered_there_although_their_numbers_are_not() -> None:
    # nerfstudio moves the numbers of the images to the device, even where the images themselves stay.
    sampler = gathered_by_kernel(PixelSamplerConfig(num_rays_per_batch=16).setup())
    torch.manual_seed(0)
    expected = sampler.sample(images())
    asked: list[torch.device] = []

    class Elsewhere(torch.Tensor):
        """Numbers on a device: only their copy can be read."""

        def numpy(self, *, force: bool = False) -> Any:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

        def to(self, *arguments: Any, **options: Any) -> Tensor:
            asked.append(torch.device(arguments[0]))
            return self.as_subclass(torch.Tensor)

    torch.manual_seed(0)
    found = sampler.sample(images(image_idx=images()["image_idx"].as_subclass(Elsewhere)))
    assert asked == [torch.device("cpu")]
    for name, values in expected.items():
        assert torch.equal(found[name], values)


@pytest.mark.parametrize("num_rays", [0, 1, 77])
def test_gathering_and_rays_by_few_operations_equal_those_of_the_kernels(num_rays: int) -> None:
    torch.manual_seed(num_rays)
    pixels, cameras = images(), make_cameras()
    indices = (torch.rand(num_rays, 3) * torch.tensor([3, 6, 9])).long()
    colors, classes, numbered = gather_by_index(
        pixels["image"], pixels["semantics"], pixels["image_idx"], indices.clone()
    )
    image, row, column = indices.unbind(dim=-1)
    assert torch.equal(colors, pixels["image"][image, row, column])
    assert torch.equal(classes, pixels["semantics"][image, row, column].long())
    assert torch.equal(numbered, torch.stack([pixels["image_idx"][image], row, column], dim=-1))
    kernel = perspective_rays(poses_of(cameras), intrinsics_of(cameras), indices)
    origins, directions, area, norms = rays_by_formula(poses_of(cameras), intrinsics_of(cameras), indices)
    torch.testing.assert_close(origins, kernel.origins)
    torch.testing.assert_close(directions, kernel.directions, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(area, kernel.pixel_area, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(norms, kernel.metadata["directions_norm"])


def test_psnr_is_that_of_torchmetrics() -> None:
    one, other = torch.rand(2, 1, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        PeakSignalNoiseRatio()(one, other), PlainPeakSignalNoiseRatio(data_range=1.0)(one, other)
    )
