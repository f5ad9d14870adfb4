import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nerfstudio.data.utils.dataparsers_utils import get_train_eval_split_fraction, get_train_eval_split_interval

from semantic_ns.dataparsers.splits import SplitMethod, SplitOptions, looks_published, split_frames, split_sequences
from semantic_ns.errors import SceneError


def split(ids, method: SplitMethod = "auto", interval=8, fraction=0.9):
    return split_frames(list(ids), SplitOptions(method, interval, fraction), "scene/Sequence_1")


def test_published_trains_on_multiples_of_5_and_scores_those_plus_2():
    ids = [*range(3, 40), 42, 47]
    result = split(ids, "published")
    assert [ids[i] for i in result.train] == [i for i in ids if i % 5 == 0]
    assert [ids[i] for i in result.eval] == [i for i in ids if i % 5 == 2]


def test_published_of_900_frames_gives_180_and_180():
    result = split(range(900))
    assert (len(result.train), len(result.eval)) == (180, 180)
    assert result.sentence == "published (train id % 5 == 0, test id % 5 == 2): 180 train, 180 test images"


@pytest.mark.parametrize(
    ("ids", "is_published"),
    [
        (range(900), True),
        ([i for i in range(900) if i % 50], True),
        ([i for i in range(300) if i % 5 in (0, 2)], True),
        ([i for i in range(60) if i % 5 in (0, 2)], True),
        (range(73), False),
        (range(901), False),
        (range(300), False),
        (range(0, 900, 5), False),
        (range(2, 900, 5), False),
    ],
)
def test_auto_is_published_only_for_captures_that_look_so(ids, is_published):
    assert looks_published(list(ids)) == is_published
    assert split(ids).sentence.startswith("published" if is_published else "interval")


@given(st.integers(2, 60), st.integers(2, 12))
def test_interval_is_nerfstudios(num_frames, interval):
    result = split(range(num_frames), "interval", interval)
    train, evaluation = get_train_eval_split_interval(list(range(num_frames)), interval)
    np.testing.assert_array_equal(result.train, train)
    np.testing.assert_array_equal(result.eval, evaluation)


@given(st.integers(2, 60), st.floats(0.05, 0.95))
def test_fraction_is_nerfstudios(num_frames, fraction):
    train, evaluation = get_train_eval_split_fraction(list(range(num_frames)), fraction)
    if not len(evaluation):
        with pytest.raises(SceneError):
            split(range(num_frames), "fraction", fraction=fraction)
        return
    result = split(range(num_frames), "fraction", fraction=fraction)
    np.testing.assert_array_equal(result.train, train)
    np.testing.assert_array_equal(result.eval, evaluation)


@given(st.sets(st.integers(0, 2000), min_size=10, max_size=50), st.sampled_from(["interval", "fraction", "auto"]))
def test_no_frame_both_trains_and_is_scored(ids, method):
    result = split(sorted(ids), method, fraction=0.5)
    assert not set(result.train) & set(result.eval)


def test_all_uses_every_frame_twice_and_says_so():
    result = split(range(7), "all")
    assert result.train.tolist() == result.eval.tolist() == list(range(7))
    assert "scores are those of training views" in result.sentence


def test_sequences_train_on_the_first_and_score_the_second():
    result = split_sequences(3, 2, "Sequence_2", "Sequence_1")
    assert (result.train.tolist(), result.eval.tolist()) == ([0, 1, 2], [3, 4])
    assert "Sequence_2 trains, Sequence_1 is scored" in result.sentence


@pytest.mark.parametrize(
    ("ids", "method", "interval", "fraction", "what"),
    [
        (range(0, 50, 5), "published", 8, 0.9, "empty evaluation split"),
        (range(2, 50, 5), "published", 8, 0.9, "empty training split"),
        (range(10), "interval", 1, 0.9, "empty training split"),
        ([0], "auto", 8, 0.9, "empty training split"),
        (range(10), "fraction", 8, 1.0, "empty evaluation split"),
        (range(10), "interval", 0, 0.9, "--eval-interval of 1 or more"),
        (range(10), "fraction", 8, 0.0, "--train-fraction above 0"),
        ([], "all", 8, 0.9, "empty training split"),
    ],
)
def test_empty_splits_and_bad_numbers_are_refused(ids, method, interval, fraction, what):
    with pytest.raises(SceneError, match=what) as raised:
        split(ids, method, interval, fraction)
    assert "scene/Sequence_1" in str(raised.value)
