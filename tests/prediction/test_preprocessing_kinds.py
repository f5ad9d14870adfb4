"""What the image processors of `transformers` do where their files say nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.prediction.preprocessing import Preprocessing, read_preprocessing

KINDS = ["Segformer", "MaskFormer", "Mask2Former", "Beit", "DPT", "ViT", "MobileNetV2", "MobileViT"]


def read(folder: Path, **content: Any) -> Preprocessing:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(content))
    return read_preprocessing(path)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *((kind, {}) for kind in KINDS),
        *((kind, {"size": {"height": 96, "width": 160}}) for kind in KINDS if not kind.startswith("Mobile")),
        ("DPT", {"keep_aspect_ratio": True, "ensure_multiple_of": 32}),
    ],
)
def test_each_kind_prepares_images_as_the_image_processor_of_transformers(
    kind: str, given: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    whole = {"do_center_crop": False} if kind in ("Beit", "MobileNetV2", "MobileViT") else {}
    processor = getattr(transformers, f"{kind}ImageProcessor")(**given, **whole)
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    found = read(tmp_path, image_processor_type=f"{kind}ImageProcessorFast", **given)
    rows, columns = found.size.of(90, 130)
    padded = [-(-length // found.divisor) * found.divisor for length in (rows, columns)]
    # Where the shape is kept, the longer side is rounded here, and cut there.
    assert np.abs(np.subtract(padded, expected.shape[-2:])).max() <= (found.size.shorter is not None)
    # Filters differ, but not the mean of each channel by much.
    of_channels = found.normalize(found.resize(image))[0].numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(of_channels, expected[:, :rows, :columns].mean(axis=(1, 2)), atol=0.02)


def test_one_number_is_the_shorter_side_for_the_kinds_that_take_it_so(tmp_path: Path) -> None:
    assert read(tmp_path, feature_extractor_type="MobileViTFeatureExtractor", size=544).size.of(100, 200) == (544, 1088)
    assert read(tmp_path, feature_extractor_type="SegformerFeatureExtractor", size=544).size.of(100, 200) == (544, 544)


def test_an_unknown_kind_is_refused_with_the_options_that_say_it_by_hand(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"found CLIPImageProcessor; .* --size, --mean, --std") as raised:
        read(tmp_path, image_processor_type="CLIPImageProcessor")
    assert "\n" not in str(raised.value)
