"""Browsers keep the pictures of a session for a week, and never show them for others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from semantic_ns.labelling.api import LabelApi
from support.label_session import SmallSession


def keys_of(session: SmallSession, exports: Path) -> tuple[str, str]:
    state = json.loads(LabelApi(session, "a scene", exports).get("/api/state", {}).body)
    return state["key"], state["images_key"]


def test_a_picture_that_was_replaced_is_asked_for_anew_in_the_same_session(tmp_path: Path) -> None:
    session = SmallSession(num_frames=2, height=48, width=64)
    session.frames = [replace(info, image=tmp_path / info.image.name) for info in session.frames]
    for info in session.frames:
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(info.image)
    before = keys_of(session, tmp_path)
    assert keys_of(session, tmp_path) == before
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(session.frames[1].image)
    key, images_key = keys_of(session, tmp_path)
    assert key == before[0]
    assert images_key != before[1]


def test_the_pictures_of_another_session_are_not_answered_with_those_of_this_one(tmp_path: Path) -> None:
    api = LabelApi(SmallSession(), "a scene", tmp_path)
    _, key = keys_of(SmallSession(), tmp_path)
    assert api.get("/api/frame/0/image", {"size": "small", "key": key}).status == 200
    refused = api.get("/api/frame/0/image", {"size": "small", "key": "deadbeef"})
    assert refused.status == 412
    assert "immutable" not in refused.headers.get("Cache-Control", "")
