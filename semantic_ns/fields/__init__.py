"""Semantic radiance fields."""
