"""Labelling by hand: marks of people on training images become classes of the whole surface, and so of every frame."""
