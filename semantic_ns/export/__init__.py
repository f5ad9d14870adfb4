"""Trained scenes to files."""
