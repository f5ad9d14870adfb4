"""Semantic radiance fields for nerfstudio: posed images plus few, sparse or noisy labels to a labelled 3D scene."""

__version__ = "0.1.0"
