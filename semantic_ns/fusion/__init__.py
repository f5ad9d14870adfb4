"""Fusion of 2D predictions over the views of a scene: from its files to files."""
