"""Sizes of the network of `viewseg-small`."""

from dataclasses import dataclass

from semantic_ns.backbones.pyramids import EncoderName


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network.

    Attributes:
        encoder: lite0 is EfficientNet-Lite0, which was trained on photographs, unet a U-Net that was not.
        encoder_widths: channels of the encoder at 1/2 and at 1/4 of the resolution.
        geometry_widths: channels of the network that guesses the depth of a single image, at 1/4, 1/8, ...
        width: width of the field.
        features: features of a sample that are rendered.
        ray_step: side in pixels of the squares of a target that share a ray while training.
        shown_ray_step: the same for images that are shown.
        num_coarse: samples of a ray, equally spaced in log depth.
        num_fine: further samples where the first ones are opaque.
        decoder_widths: channels of the decoder in the image plane of the target, at 1/2, 1/4, ... of the resolution.
        uses_directions: whether the field knows from where it is looked at.
        levels_cameras: whether it estimates which way is up in each source, and turns its camera accordingly.
        near: depth of the first sample in metres.
        far: depth of the last sample in metres.
    """

    encoder: EncoderName = "lite0"
    encoder_widths: tuple[int, int] = (32, 96)
    geometry_widths: tuple[int, ...] = (48, 64, 96)
    width: int = 48
    features: int = 32
    ray_step: int = 6
    shown_ray_step: int = 4
    num_coarse: int = 20
    num_fine: int = 12
    decoder_widths: tuple[int, ...] = (32, 64, 96)
    uses_directions: bool = True
    levels_cameras: bool = False
    near: float = 0.3
    far: float = 8.0
