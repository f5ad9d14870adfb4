"""Cameras as numbers: pixels, points and the surfaces that depth images say."""
