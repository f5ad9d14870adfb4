"""Batches in which labelled pixels have a minimum share, beside rows that stay uniform."""

import numpy as np
import pytest
import torch
from nerfstudio.data.pixel_samplers import PatchPixelSamplerConfig, PixelSamplerConfig

from semantic_ns.datamanagers.labelled_pixel_sampler import LabelledPixelSamplerConfig, add_labelled_rays
from semantic_ns.errors import SceneError

SHAPE = (3, 6, 8)


def image_batch(labels, **further):
    """Images whose colour tells the place of each pixel; cameras are numbered 20, 10, 30."""
    places = np.stack(np.meshgrid(*(np.arange(n) for n in labels.shape), indexing="ij"), axis=-1)
    return {
        "image": torch.from_numpy(places).float(),
        "semantics": labels[..., None].to(torch.int16),
        "image_idx": torch.tensor([20, 10, 30]),
        **further,
    }


@pytest.fixture
def labels():
    """Class 0: six pixels, class 2: two, class 5: one, in the first and the last image; 6 % of all pixels."""
    values = torch.full(SHAPE, -1, dtype=torch.int16)
    values[0, 2, 1:7] = 0
    values[2, 0, 0] = values[2, 5, 7] = 2
    values[2, 3, 4] = 5
    return values


def sampler(num_rays=64, seed=0, labelled_share=0.25, **options):
    torch.manual_seed(seed)
    config = LabelledPixelSamplerConfig(num_rays_per_batch=num_rays, labelled_share=labelled_share, **options)
    return config.setup()


def places_of(batch, rows=slice(None)):
    return [tuple(place) for place in batch["image"][rows].long().tolist()]


def test_the_last_rows_are_labelled_and_say_how_many_are_not(labels):
    batch = sampler(labelled_share=0.3).sample(image_batch(labels))
    assert batch["num_uniform_rays"] == 64 - 19
    assert batch["semantics"].shape == (64, 1)
    assert (batch["semantics"][45:] != -1).all()
    assert (batch["semantics"][:45] == -1).any()


def test_every_row_has_the_colour_and_the_label_of_its_index(labels):
    batch = sampler().sample(image_batch(labels))
    cameras = {20: 0, 10: 1, 30: 2}
    for (camera, row, column), place, label in zip(
        batch["indices"].tolist(), places_of(batch), batch["semantics"][:, 0].tolist(), strict=True
    ):
        assert place == (cameras[camera], row, column)
        assert label == labels[place]


def test_uniform_rows_are_the_parents_draws(labels):
    few = sampler(seed=3).sample(image_batch(labels))
    torch.manual_seed(3)
    parents = PixelSamplerConfig(num_rays_per_batch=48).setup().sample(image_batch(labels))
    torch.testing.assert_close(few["indices"][:48], parents["indices"])


@pytest.mark.parametrize("balance_classes", [False, True])
def test_labelled_rows_have_the_stated_frequencies(labels, balance_classes):
    batch = sampler(40_000, labelled_share=0.5, balance_classes=balance_classes).sample(image_batch(labels))
    places, counts = np.unique(np.array(places_of(batch, slice(20_000, None))), axis=0, return_counts=True)
    assert len(places) == 9
    for place, count in zip(places, counts, strict=True):
        label = int(labels[tuple(place)])
        expected = {0: 1 / 18, 2: 1 / 6, 5: 1 / 3}[label] if balance_classes else 1 / 9
        assert count / 20_000 == pytest.approx(expected, abs=4 * np.sqrt(expected / 20_000))
    uniform = np.unique(np.array(places_of(batch, slice(20_000))), axis=0, return_counts=True)[1]
    assert len(uniform) == np.prod(SHAPE)
    expected = 20_000 / np.prod(SHAPE)
    assert (np.abs(uniform - expected) < 5 * np.sqrt(expected)).all()


def test_balanced_rows_are_added_however_many_labels_there_are(labels):
    complete = torch.where(labels == -1, 2, labels)
    batch = sampler(40_000, labelled_share=0.25, balance_classes=True).sample(image_batch(complete))
    assert batch["num_uniform_rays"] == 30_000
    counts = np.unique(batch["semantics"][30_000:].numpy(), return_counts=True)[1]
    assert len(counts) == 3
    assert (np.abs(counts / 10_000 - 1 / 3) < 0.03).all()


def test_with_labels_enough_nothing_is_added(labels):
    batch = sampler(labelled_share=0.06).sample(image_batch(labels))
    assert batch["num_uniform_rays"] == 64
    torch.manual_seed(0)
    parents = PixelSamplerConfig(num_rays_per_batch=64).setup().sample(image_batch(labels))
    torch.testing.assert_close(batch["indices"], parents["indices"])


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_without_labels_or_wish_for_them_all_rows_are_uniform(labels, share):
    values = labels if share == 0 else torch.full_like(labels, -1)
    batch = sampler(labelled_share=share).sample(image_batch(values))
    assert batch["num_uniform_rays"] == len(batch["image"]) == 64


def test_other_images_bring_other_labels(labels):
    drawer = sampler(labelled_share=0.5)
    drawer.sample(image_batch(labels))
    moved = torch.roll(labels, 1, dims=2)
    batch = drawer.sample(image_batch(moved))
    assert all(moved[place] != -1 for place in places_of(batch, slice(32, None)))


def test_masked_pixels_are_never_drawn(labels):
    mask = torch.ones(*SHAPE, 1, dtype=torch.bool)
    mask[2] = False
    for ignored in (False, True):
        drawer = sampler(512, labelled_share=0.5, ignore_mask=ignored)
        batch = drawer.sample(image_batch(labels, mask=mask))
        images = {place[0] for place in places_of(batch)}
        assert images == ({0, 1, 2} if ignored else {0, 1})
        assert (batch["semantics"][256:] != -1).all()
        assert len(batch["mask"]) == 512


def test_places_of_labels_are_kept_small(labels):
    drawer = sampler()
    drawer.sample(image_batch(labels))
    assert drawer._labelled.pixels.dtype == torch.int32
    assert drawer._labelled.pixels.tolist() == sorted(
        (i for i in range(labels.numel()) if labels.flatten()[i] != -1), key=lambda i: (int(labels.flatten()[i]), i)
    )


def test_the_same_seed_draws_the_same_rows(labels):
    one, two, other = (sampler(seed=seed).sample(image_batch(labels))["indices"] for seed in (1, 1, 2))
    torch.testing.assert_close(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_leaves_no_colour_is_refused(share):
    with pytest.raises(SceneError, match="labelled-share, found"):
        sampler(labelled_share=share)


def test_options_of_the_plain_sampler_are_kept_and_other_samplers_left_alone():
    plain = PixelSamplerConfig(num_rays_per_batch=77, keep_full_image=True, max_num_iterations=5).setup()
    changed = add_labelled_rays(plain, 0.4, True)
    assert isinstance(changed.config, LabelledPixelSamplerConfig)
    assert (changed.num_rays_per_batch, changed.config.keep_full_image) == (77, True)
    assert (changed.config.max_num_iterations, changed.config.labelled_share, changed.config.balance_classes) == (
        5, 0.4, True,
    )  # fmt: skip
    patches = PatchPixelSamplerConfig(patch_size=2).setup()
    assert add_labelled_rays(patches, 0.4, True) is patches
