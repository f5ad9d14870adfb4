"""Where no label says what a pixel is, a training is held to the classes that its weights began with."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.backbones.pyramids import EncoderName
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods import class_teacher
from semantic_ns.methods.class_teacher import ClassTeacher
from semantic_ns.methods.gsnerf_small.encoder import Encoder
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.gsnerf_small.step import LossWeights, RayPixels, step_losses
from semantic_ns.multi_view.supervised_losses import distillation_loss
from support.ring_of_views import sample_of_the_wall

NUM_CLASSES = 5
SIZES = Sizes(encoder="unet", encoder_widths=(8, 16), num_planes=12, depth_widths=(8, 16), decoder_widths=(8, 16))
SIZE = (32, 48)


def encoder_of(name: EncoderName = "unet") -> Encoder:
    torch.manual_seed(0)
    return Encoder(replace(SIZES, encoder=name), NUM_CLASSES)


def change(encoder: Encoder) -> None:
    """What some steps of training do to all parameters that are trained."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


def without_labels(frames: Frames) -> Frames:
    return replace(frames, labels=torch.full_like(frames.labels, -1))


def teacher_that_says(taught: Tensor, monkeypatch: pytest.MonkeyPatch) -> ClassTeacher:
    teacher = ClassTeacher(encoder_of())
    monkeypatch.setattr(teacher, "log_probabilities", lambda images: taught)
    return teacher


def test_a_distillation_loss_is_a_sum_over_pixels_and_classes() -> None:
    torch.manual_seed(0)
    logits, taught = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5).log_softmax(dim=1)
    is_used = torch.rand(2, 4, 5) < 0.6
    total = 0.0
    for image, row, column in is_used.nonzero().tolist():
        p, q = taught[image, :, row, column].exp(), logits[image, :, row, column].softmax(dim=0)
        total += sum(float(p[c]) * float((p[c] / q[c]).log()) for c in range(3))
    assert float(distillation_loss(logits, taught, is_used)) == pytest.approx(total / is_used.numel(), rel=1e-5)


def test_the_gradient_of_a_distillation_is_the_difference_of_the_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    taught = torch.randn(1, 3, 2, 2, dtype=torch.float64).log_softmax(dim=1)
    is_used = torch.tensor([[[True, False], [True, True]]])
    distillation_loss(logits, taught, is_used).backward()
    expected = (logits.detach().softmax(dim=1) - taught.exp()) * is_used[:, None] / 4
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("name", ["unet", "lite0"])
def test_a_teacher_goes_on_to_say_what_the_segmenter_said_before_it_was_trained(name: EncoderName) -> None:
    encoder, images = encoder_of(name), sample_of_the_wall(2, SIZE).sources.images
    with torch.no_grad():
        before = torch.cat([encoder.segment(image).log_softmax(dim=1) for image in images.split(1)])
        teacher = ClassTeacher(encoder)
        change(encoder)
        after = encoder.segment(images).log_softmax(dim=1)
    torch.testing.assert_close(teacher.log_probabilities(images), before, rtol=1e-3, atol=1e-3)
    assert float((after - before).abs().max()) > 0.1


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were looked at, each time."""
    found: list[int] = []
    inner = Encoder.segment

    def segment(self: Encoder, images: Tensor) -> Tensor:
        found.append(len(images))
        return inner(self, images)

    monkeypatch.setattr(Encoder, "segment", segment)
    return found


def test_a_teacher_looks_at_an_image_once(looked: list[int]) -> None:
    teacher, images = ClassTeacher(encoder_of()), sample_of_the_wall(3, SIZE).sources.images
    first = teacher.log_probabilities(images)
    again = teacher.log_probabilities(images[[2, 0]])
    assert looked == [1, 1, 1]
    assert torch.equal(again, first[[2, 0]])


def test_images_of_other_shapes_are_other_images() -> None:
    teacher = ClassTeacher(encoder_of())
    for size in ((32, 48), (48, 32)):
        assert teacher.log_probabilities(torch.zeros(1, 3, *size)).shape[-2:] == (size[0] // 2, size[1] // 2)


def test_a_teacher_keeps_no_more_than_some_bytes(looked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    of_image = NUM_CLASSES * (SIZE[0] // 2) * (SIZE[1] // 2) * 2
    monkeypatch.setattr(class_teacher, "_MOST_KEPT", 2 * of_image + 1)
    teacher, images = ClassTeacher(encoder_of()), sample_of_the_wall(3, SIZE).sources.images
    teacher.log_probabilities(images)
    teacher.log_probabilities(images[[1, 2]])
    assert len(looked) == 3
    teacher.log_probabilities(images[:1])
    assert len(looked) == 4


def test_a_trunk_that_is_never_trained_is_shared_and_not_stored_again() -> None:
    encoder = encoder_of("lite0")
    teacher: Any = ClassTeacher(encoder)
    assert teacher._segmenter.pyramid.trunk is encoder.pyramid.trunk
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert set(teacher.state()) == trained


@pytest.mark.parametrize("name", ["unet", "lite0"])
def test_a_teacher_of_a_trained_segmenter_with_the_state_of_another_says_what_that_one_says(name: EncoderName) -> None:
    encoder, images = encoder_of(name), sample_of_the_wall(2, SIZE).sources.images
    teacher = ClassTeacher(encoder)
    expected = teacher.log_probabilities(images)
    change(encoder)
    later = ClassTeacher(encoder)
    assert not torch.equal(later.log_probabilities(images), expected)
    later.load_state(teacher.state())
    assert torch.equal(later.log_probabilities(images), expected)


def test_a_teacher_speaks_for_pixels_that_have_no_label_and_are_used_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = sample_of_the_wall(2, SIZE).sources
    labels, masks = frames.labels.clamp(min=0), torch.ones_like(frames.labels, dtype=torch.bool)
    labels[0, :, :24] = -1
    masks[0, :16] = False
    logits = torch.randn(2, NUM_CLASSES, 16, 24, requires_grad=True)
    taught = torch.randn(2, NUM_CLASSES, 16, 24).log_softmax(dim=1)
    teacher = teacher_that_says(taught, monkeypatch)
    teacher.loss(logits, [replace(frames, labels=labels, masks=masks)]).backward()
    assert logits.grad is not None
    has_gradient = logits.grad.abs().sum(dim=1) > 0
    expected = torch.zeros(2, 16, 24, dtype=torch.bool)
    expected[0, 8:, :12] = True
    assert torch.equal(has_gradient, expected)


def test_a_teacher_is_not_asked_where_every_pixel_has_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = sample_of_the_wall(2, SIZE).sources
    teacher = ClassTeacher(encoder_of())
    monkeypatch.delattr(teacher, "_segmenter")
    logits = torch.randn(2, NUM_CLASSES, 16, 24)
    assert float(teacher.loss(logits, [replace(frames, labels=frames.labels.clamp(min=0))])) == 0


def test_a_training_without_labels_keeps_classes_with_a_teacher_and_loses_them_without() -> None:
    labelled = sample_of_the_wall(3, SIZE)
    sample = TargetSample(without_labels(labelled.sources), without_labels(labelled.targets))

    def movement(is_taught: bool) -> float:
        torch.manual_seed(0)
        network = GsnerfSmallNetwork(NUM_CLASSES, SIZES)
        teacher = ClassTeacher(network.encoder)
        expected = teacher.log_probabilities(sample.sources.images)
        optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
        for step in range(20):
            pixels = RayPixels.draw(sample.targets, 64, torch.Generator().manual_seed(step))
            losses = step_losses(
                network, sample, pixels, LossWeights(distillation=10.0), None, teacher if is_taught else None
            )
            assert ("distillation_loss" in losses) is is_taught
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
        with torch.no_grad():
            logits = network.encoder.segment(sample.sources.images)
        return float(distillation_loss(logits, expected, torch.ones(3, 16, 24, dtype=torch.bool)))

    assert movement(True) < 0.2 * movement(False)
