"""Predictions of a 2D segmentation network for the frames of a scene."""
