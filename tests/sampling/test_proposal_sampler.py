"""Fused proposal sampling against nerfstudio's sampler for equal random draws."""

from unittest import mock

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.fields.density_fields import HashMLPDensityField
from nerfstudio.model_components.losses import interlevel_loss
from nerfstudio.model_components.ray_samplers import UniformSampler

from semantic_ns.encodings.hash_grid import HashGrid, replace_hash_encodings
from semantic_ns.sampling.proposal import FusedProposalSampler, edges_of
from support.reference import assert_same_with_any_number_of_threads

RAYS = 150  # tiles of the kernels, and a rest


def rays() -> RayBundle:
    torch.manual_seed(1)
    return RayBundle(
        origins=torch.randn(RAYS, 3) * 0.3,
        directions=torch.nn.functional.normalize(torch.randn(RAYS, 3), dim=-1),
        pixel_area=torch.ones(RAYS, 1),
        nears=torch.full((RAYS, 1), 0.05),
        fars=torch.full((RAYS, 1), 4.0),
        camera_indices=torch.zeros(RAYS, 1, dtype=torch.long),
    )


def network(contracted: bool = True, hidden_dim: int = 16, num_levels: int = 4) -> HashMLPDensityField:
    torch.manual_seed(0)
    built = HashMLPDensityField(
        torch.tensor([[-5.0, -5, -5], [5, 5, 5]]),
        spatial_distortion=SceneContraction(order=float("inf")) if contracted else None,
        hidden_dim=hidden_dim,
        log2_hashmap_size=10,
        num_levels=num_levels,
        max_res=64,
        implementation="torch",
    )
    built.encoding.hash_table.data *= 3000  # a scene with structure
    replace_hash_encodings(built)
    return built


def sampler(piecewise: bool) -> FusedProposalSampler:
    built = FusedProposalSampler(
        piecewise=piecewise,
        num_proposal_samples_per_ray=(33,),
        num_nerf_samples_per_ray=14,
        num_proposal_network_iterations=1,
        single_jitter=True,
        initial_sampler=None if piecewise else UniformSampler(single_jitter=True),
    )
    built.set_anneal(0.7)
    return built


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each slot of the gradients more than one tile, as batches of real size do."""
    monkeypatch.setattr("semantic_ns.kernels.layers._NUM_SLOTS", 2)


@pytest.mark.parametrize("contracted", [True, False])
@pytest.mark.parametrize("piecewise", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_edges_equal_nerfstudios_for_equal_draws(piecewise: bool, training: bool, contracted: bool) -> None:
    built, field, bundle = sampler(piecewise).train(training), network(contracted), rays()
    draws = torch.rand(RAYS, 2, generator=torch.Generator().manual_seed(5))
    stages = [draws[:, :1].clone(), draws[:, 1:].clone()]
    with torch.no_grad(), mock.patch("torch.rand", side_effect=lambda *_, **__: stages.pop(0)):
        samples, weights, proposals = built.generate_ray_samples(bundle, [field.density_fn])
    with mock.patch("torch.rand", side_effect=lambda *_, **__: draws):
        edges, proposal = built.sample_edges(bundle, field)
    expected = edges_of(samples)
    torch.testing.assert_close(edges.spacings, expected.spacings, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(edges.distances, expected.distances, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(proposal.spacings, edges_of(proposals[0]).spacings, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(proposal.weights, weights[0][..., 0], rtol=1e-3, atol=1e-5)


def test_edges_ascend_between_near_and_far() -> None:
    (_, distances), _ = sampler(True).train().sample_edges(rays(), network())
    assert (distances.diff(dim=-1) >= 0).all()
    assert distances.min() >= 0.05 - 1e-6
    assert distances.max() <= 4.0 + 1e-4


def test_only_one_proposal_network_on_the_cpu_is_fused() -> None:
    field = network()
    assert sampler(True).can_fuse(rays(), torch.nn.ModuleList([field]))
    assert isinstance(field.encoding, HashGrid)
    field.encoding.backend = "torch"
    assert not sampler(True).can_fuse(rays(), torch.nn.ModuleList([field]))


@pytest.mark.parametrize("sizes", [(16, 4), (12, 5)])
@pytest.mark.parametrize("contracted", [True, False])
def test_interlevel_loss_and_its_gradients_equal_nerfstudios(contracted: bool, sizes: tuple[int, int]) -> None:
    built, field, bundle = sampler(True).eval(), network(contracted, *sizes), rays()
    samples, weights_list, proposals = built.generate_ray_samples(bundle, [field.density_fn])
    field_weights = torch.rand(RAYS, 14, 1, generator=torch.Generator().manual_seed(2))
    slow = interlevel_loss([*weights_list, field_weights], [*proposals, samples])
    (spacings, _), proposal = built.sample_edges(bundle, field)
    fast = built.interlevel_loss(proposal, field, spacings, field_weights[..., 0])
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-6)
    assert fast > 1e-3
    names, parameters = zip(*field.mlp_base.named_parameters(), strict=True)
    for name, a, b in zip(
        names, torch.autograd.grad(2 * fast, parameters), torch.autograd.grad(2 * slow, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4 * b.abs().max().item(), msg=lambda m, n=name: f"{n}: {m}")


def test_the_network_is_trained_in_the_turns_of_nerfstudios_schedule() -> None:
    built = FusedProposalSampler(update_sched=lambda step: 3, num_proposal_network_iterations=1)
    turns = []
    for step in range(30):
        turns.append(built.is_update_step())
        built.step_cb(step)
    assert all(turns[:11])  # steps 0 to 9 have been counted by then
    assert [step for step in range(11, 30) if turns[step]] == [14, 18, 22, 26]


def test_any_number_of_threads_gives_the_same_samples_and_gradients() -> None:
    built, field, bundle = sampler(True).eval(), network(), rays()
    field_weights = torch.rand(RAYS, 14, generator=torch.Generator().manual_seed(2))
    parameters = list(field.mlp_base.parameters())

    def everything() -> list[torch.Tensor]:
        (spacings, distances), proposal = built.sample_edges(bundle, field)
        loss = built.interlevel_loss(proposal, field, spacings, field_weights)
        return [spacings, distances, proposal.weights, loss.detach(), *torch.autograd.grad(loss, parameters)]

    assert_same_with_any_number_of_threads(everything)


def test_no_rays_give_empty_samples_and_a_loss_of_zero() -> None:
    built, field, bundle = sampler(True).eval(), network(), rays()[:0]
    (spacings, distances), proposal = built.sample_edges(bundle, field)
    assert spacings.shape == distances.shape == (0, 15)
    loss = built.interlevel_loss(proposal, field, spacings, torch.empty(0, 14))
    assert loss == 0
    assert all(bool((g == 0).all()) for g in torch.autograd.grad(loss, list(field.mlp_base.parameters())))


def test_a_proposal_density_beyond_all_bounds_puts_all_weight_on_the_first_bin() -> None:
    field = network()
    with torch.no_grad():
        field.mlp_base[1].layers[1].bias[:] = 200.0  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
    _, proposal = sampler(True).eval().sample_edges(rays(), field)
    torch.testing.assert_close(proposal.weights[:, 0], torch.ones(RAYS))
