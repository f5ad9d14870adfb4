"""What an export holds beside label images: annotations in the format of COCO, and what something else says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.labelling.session import LabelSession
from support.label_actions import FRAMES, LAMP, WALL, click
from support.label_surfaces import HEIGHT, WIDTH


@pytest.fixture
def session(opened: Callable[..., LabelSession]) -> LabelSession:
    made = opened()
    made.add_mark(click(0, WALL, 4, 4), "a", 0)
    made.add_mark(click(2, LAMP, 28, 12), "a", 1)
    made.add_mark(click(1, None, 10, 10, action="void"), "a", 2)
    return made


def labels_in(folder: Path) -> list[np.ndarray]:
    """Label images, by frame."""
    return [np.asarray(Image.open(folder / f"frame_{frame}.png")).astype(int) for frame in range(FRAMES)]


@pytest.mark.parametrize("painted_only", [False, True])
def test_coco_annotations_hold_the_pixels_of_the_label_images(
    session: LabelSession, tmp_path: Path, painted_only: bool
) -> None:
    session.export(tmp_path / "out", painted_only=painted_only, coco=True)
    content = json.loads((tmp_path / "out" / "annotations" / "instances_default.json").read_text())
    assert [(one["id"], one["name"]) for one in content["categories"]] == [(WALL, "wall"), (LAMP, "lamp")]
    assert [one["file_name"] for one in content["images"]] == [f"frame_{frame}.png" for frame in range(FRAMES)]
    for image, labels in zip(content["images"], labels_in(tmp_path / "out"), strict=True):
        found = np.full((HEIGHT, WIDTH), session.void_id)
        for one in content["annotations"]:
            if one["image_id"] == image["id"]:
                mask = decode_coco(one["segmentation"]["counts"], WIDTH, HEIGHT)
                assert (found[mask] == session.void_id).all()
                found[mask] = one["category_id"]
        assert (found == labels).all()
    assert len(content["annotations"]) >= 2


def test_no_annotations_are_written_unless_they_are_wanted(session: LabelSession, tmp_path: Path) -> None:
    session.export(tmp_path / "out")
    assert not (tmp_path / "out" / "annotations").exists()


def test_what_is_said_takes_the_place_of_spread_labels_and_never_of_painted_ones(
    session: LabelSession, tmp_path: Path
) -> None:
    asked: list[int] = []
    rng = np.random.default_rng(0)
    said = rng.choice(np.array([-1, WALL, LAMP], np.int16), (FRAMES, HEIGHT, WIDTH))
    sure = rng.random((FRAMES, HEIGHT, WIDTH)).astype(np.float32)

    def say(frame: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(frame)
        return said[frame], sure[frame]

    session.export(tmp_path / "out", least_confidence=0.5, said=say)
    assert asked == [*range(FRAMES)]
    for frame, labels in enumerate(labels_in(tmp_path / "out")):
        painted = session.painted(frame)
        assert (painted != -1).any()
        for row in range(HEIGHT):
            for column in range(WIDTH):
                if painted[row, column] != -1:
                    expected = max(painted[row, column], -1)
                else:
                    expected = said[frame, row, column] if sure[frame, row, column] >= 0.5 else -1
                assert labels[row, column] == (session.void_id if expected == -1 else expected)
