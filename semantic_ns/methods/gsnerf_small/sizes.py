"""Sizes of the network of `gsnerf-small`."""

from dataclasses import dataclass

from semantic_ns.backbones.pyramids import EncoderName


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network.

    Attributes:
        encoder: lite0 is EfficientNet-Lite0, which was trained on photographs, unet a U-Net that was not.
        encoder_widths: channels of the encoder at 1/2 and at 1/4 of the resolution.
        match_channels: features that are compared between views.
        num_planes: planes of a source at 1/4 of the resolution, from near to far.
        depth_widths: channels of the network that regularises matching costs, at 1/4, 1/8, ... of the resolution.
        decoder_widths: channels of the decoder in the image plane of the target, at 1/2, 1/4, ... of the resolution.
        color_width: numbers of a token for colours.
        color_layers: attention layers for colours.
        class_width: numbers of a token for classes.
        class_layers: attention layers for classes.
        num_samples: samples of a ray; a multiple of 8.
        guides_colors: whether the samples of a ray for colours stand around the surface (Chou et al. 2024). Otherwise
            `num_unguided` of them stand between near and far, and the image plane of the target gives no colour.
        guides_classes: whether classes are those of the surface point. Otherwise they are rendered from `num_unguided`
            samples between near and far, and the image plane of the target gives no class.
        num_unguided: samples of a ray between near and far, where nothing guides them.
        near: nearest plane in metres.
        far: farthest plane in metres.
    """

    encoder: EncoderName = "lite0"
    encoder_widths: tuple[int, int] = (32, 96)
    match_channels: int = 16
    num_planes: int = 32
    depth_widths: tuple[int, ...] = (64, 96, 128)
    decoder_widths: tuple[int, ...] = (32, 64, 96)
    color_width: int = 16
    color_layers: int = 2
    class_width: int = 32
    class_layers: int = 2
    num_samples: int = 8
    guides_colors: bool = True
    guides_classes: bool = True
    num_unguided: int = 16
    near: float = 0.3
    far: float = 8.0
