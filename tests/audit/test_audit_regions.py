"""The audit finds exactly the planted disagreements between labels and field, and measures them rightly."""

import math
from dataclasses import replace

import numpy as np
import pytest

from semantic_ns.audit.other_views import LabelledViews, ViewSupport
from semantic_ns.audit.regions import LARGEST_PROBABILITY, Region, RegionRule, find_regions, log_odds
from semantic_ns.audit.run import score
from semantic_ns.fusion.label_fusion import View
from semantic_ns.labels.taxonomy import VOID

EVERY = RegionRule(min_area=1, min_confidence=0.0, border_px=0)
SHAPE = (12, 16)


def labels_of(value: int) -> np.ndarray:
    return np.full(SHAPE, value, np.int16)


def confidence_of(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


def planted(*boxes: tuple[slice, slice], given: int = 3) -> np.ndarray:
    labels = labels_of(0)
    for box in boxes:
        labels[box] = given
    return labels


def test_a_planted_region_is_found_with_its_pixels_labels_and_mean_confidence():
    given = planted(np.s_[2:7, 3:9])
    confidence = confidence_of(0.9)
    confidence[2, 3:9] = 0.6
    (region,) = find_regions(given, labels_of(0), confidence, EVERY, frame=5)
    assert (region.frame, region.given, region.suggested, region.area) == (5, 3, 0, 30)
    assert region.box == np.s_[2:7, 3:9]
    assert region.confidence == pytest.approx((24 * 0.9 + 6 * 0.6) / 30)
    mask = np.zeros(SHAPE, bool)
    mask[region.pixels] = True
    assert (mask == (given == 3)).all()


def test_no_disagreement_gives_no_region():
    assert find_regions(labels_of(2), labels_of(2), confidence_of(1.0), EVERY) == []


def test_void_contradicts_nothing():
    assert find_regions(labels_of(VOID), labels_of(2), confidence_of(1.0), EVERY) == []
    half = labels_of(1)
    half[:, 8:] = VOID
    (region,) = find_regions(half, labels_of(2), confidence_of(1.0), EVERY)
    assert region.area == half.size / 2


def test_regions_apart_and_regions_with_other_classes_are_listed_apart():
    given, field = planted(np.s_[0:3, 0:4], np.s_[8:12, 0:4]), labels_of(0)
    field[0:3, 2:4] = 1
    found = find_regions(given, field, confidence_of(0.9), EVERY)
    assert sorted((region.area, region.suggested) for region in found) == [(6, 0), (6, 1), (16, 0)]


def test_pixels_that_touch_at_a_corner_alone_are_two_regions():
    assert len(find_regions(planted(np.s_[0:2, 0:2], np.s_[2:4, 2:4]), labels_of(0), confidence_of(0.9), EVERY)) == 2


@pytest.mark.parametrize(
    ("box", "widest_border"),
    [
        (np.s_[5:6, 2:12], 0),  # a line
        (np.s_[0:1, :], 0),  # a line along the border of the image
        (np.s_[4:8, 2:12], 1),
        (np.s_[4:9, 2:12], 2),
        (np.s_[0:2, 2:12], 1),  # the image cuts it off, so that its other half is not known to be missing
        (np.s_[0:3, 0:3], 2),
        (np.s_[:, :], 100),
    ],
)
def test_a_region_survives_if_a_square_of_twice_the_border_plus_one_fits_in_up_to_the_image(box, widest_border):
    given = planted(box)
    for border in (0, 1, 2, 3):
        found = find_regions(given, labels_of(0), confidence_of(0.9), replace(EVERY, border_px=border))
        assert len(found) == (border <= widest_border)


def test_the_smallest_area_and_the_smallest_confidence_are_inclusive():
    given, field, confidence = planted(np.s_[2:6, 2:7]), labels_of(0), confidence_of(0.75)
    assert len(find_regions(given, field, confidence, replace(EVERY, min_area=20, min_confidence=0.75))) == 1
    assert find_regions(given, field, confidence, replace(EVERY, min_area=21)) == []
    assert find_regions(given, field, confidence, replace(EVERY, min_confidence=0.76)) == []


def test_evidence_is_at_most_the_log_likelihood_ratio_and_equal_to_it_for_two_classes():
    rng = np.random.default_rng(0)
    for num_classes in (2, 5):
        logits = rng.normal(size=(*SHAPE, num_classes)) * 2
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        field, confidence = p.argmax(-1).astype(np.int16), p.max(-1).astype(np.float32)
        given = ((field + 1) % num_classes).astype(np.int16)
        for region in find_regions(given, field, confidence, EVERY):
            of_region = p[region.pixels]  # [pixels, classes]
            ratio = sum(math.log(pixel[region.suggested] / pixel[region.given]) for pixel in of_region)
            assert region.evidence <= ratio + 1e-4
            if num_classes == 2 and of_region.max() < LARGEST_PROBABILITY:
                assert region.evidence == pytest.approx(ratio, rel=1e-4, abs=1e-4)


def test_certainty_counts_a_finite_amount_and_less_than_one_half_counts_nothing():
    values = log_odds(np.array([0.2, 0.5, 0.9, 1.0], np.float32))
    assert values.tolist() == pytest.approx([0, 0, math.log(9), math.log(0.999 / 0.001)], abs=1e-4)


def test_more_pixels_of_the_same_confidence_come_first():
    found = find_regions(planted(np.s_[0:2, 0:2], np.s_[5:9, 5:9]), labels_of(0), confidence_of(0.9), EVERY)
    assert [region.area for region in found] == [16, 4]


@pytest.mark.parametrize("change", [{"min_area": 0}, {"border_px": -1}, {"min_confidence": 1.1}])
def test_a_rule_that_makes_no_sense_is_refused(change):
    with pytest.raises(ValueError, match="min_area must be"):
        replace(EVERY, **change)


# Other views. A wall at z = -2 (OpenGL), seen by cameras beside each other.


def wall(x: float, depth: float = 2.0) -> View:
    c2w = np.eye(4)
    c2w[0, 3] = x
    return View(np.full(SHAPE, depth, np.float32), c2w, np.array([8.0, 8.0, 8.0, 6.0]))


def region_of(given: np.ndarray) -> Region:
    return find_regions(given, labels_of(0), confidence_of(0.9), EVERY)[0]


def votes_of(views: list[View], given: list[np.ndarray]) -> ViewSupport:
    return LabelledViews(views, given).votes(region_of(given[0]))


WRONG = planted(np.s_[4:8, 6:10])


def test_views_that_see_a_region_vote_for_the_class_that_they_have_there():
    # A camera 1/4 to the right sees points at depth 2 one pixel further left.
    third = planted(np.s_[4:8, 5:9])
    assert votes_of([wall(0), wall(0.25), wall(0.25)], [WRONG, labels_of(0), third]) == ViewSupport(2, 1, 1)


def test_a_view_with_a_third_class_sees_and_seconds_nobody():
    assert votes_of([wall(0), wall(0.25)], [WRONG, labels_of(2)]) == ViewSupport(1, 0, 0)


def test_views_that_are_void_or_look_elsewhere_or_are_hidden_do_not_vote():
    behind = wall(0)
    behind = replace(behind, c2w=behind.c2w @ np.diag([-1.0, 1.0, -1.0, 1.0]))
    views = [wall(0), wall(0.25), wall(100.0), wall(0.25, depth=1.0), wall(0.25, depth=0.0), behind]
    given = [WRONG, labels_of(VOID), *[labels_of(0)] * 4]
    assert votes_of(views, given) == ViewSupport(0, 0, 0)


def test_a_region_without_depth_has_no_votes():
    assert votes_of([wall(0, depth=0.0), wall(0.25)], [WRONG, labels_of(0)]) == ViewSupport(0, 0, 0)


def test_a_view_that_sees_less_than_a_quarter_does_not_vote():
    mostly_void = labels_of(VOID)
    mostly_void[4:8, 5:6] = 0
    given = [WRONG, mostly_void]
    assert votes_of([wall(0), wall(0.25)], given).views == 1
    mostly_void[7, 5] = VOID
    assert votes_of([wall(0), wall(0.25)], given).views == 0


def test_other_views_raise_the_score_from_half_of_the_evidence_or_take_it_away():
    region = region_of(WRONG)
    assert score(region, ViewSupport(0, 0, 0)) == pytest.approx(region.evidence / 2)
    assert score(region, ViewSupport(8, 8, 0)) == pytest.approx(region.evidence * 0.9)
    assert score(region, ViewSupport(8, 3, 3)) == pytest.approx(region.evidence * 0.1)
    assert score(region, ViewSupport(8, 0, 1)) == 0
