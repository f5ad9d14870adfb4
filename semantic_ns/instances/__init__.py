"""Instances of things on the surface of a scene: from the classes alone, or from masks of single frames."""
