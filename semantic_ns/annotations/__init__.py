"""Annotations made with other tools to the label images and classes of a scene in nerfstudio's format."""
