"""Where the cameras of the captures are: OpenCV cameras to world, in an order in which neighbours look alike."""

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Poses = Float[ndarray, "frames 4 4"]

OUTWARD_SPREAD_M = 0.03
"""Largest distance along an axis of a camera that looks outward from the point that they have in common."""


def looking(position: Float[ndarray, "3"], forward: Float[ndarray, "3"]) -> Float[ndarray, "4 4"]:
    """A level camera at a position that looks along a direction, which is not vertical."""
    forward = np.asarray(forward, float) / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3] = np.stack([right, np.cross(forward, right), forward, np.asarray(position, float)], axis=-1)
    return c2w


def towards(heading: float, tilt: float) -> Float[ndarray, "3"]:
    """The direction of an angle about the vertical and one above the horizon, in radians."""
    return np.array([math.cos(heading) * math.cos(tilt), math.sin(heading) * math.cos(tilt), math.sin(tilt)])


def outward(num_frames: int = 40) -> Poses:
    """All round from one point: three rings of different tilt, positions less than `OUTWARD_SPREAD_M` off the point."""
    offsets = np.random.default_rng(0).uniform(-OUTWARD_SPREAD_M, OUTWARD_SPREAD_M, (num_frames, 3))
    tilts = np.radians([-30.0, 0.0, 22.0])[np.arange(num_frames) % 3]
    headings = 2 * math.pi * np.arange(num_frames) / num_frames
    middle = np.array([0.1, -0.1, 1.4])
    return np.stack(
        [looking(middle + offset, towards(*angles)) for offset, *angles in zip(offsets, headings, tilts, strict=True)]
    )


def inward(num_frames: int = 40) -> Poses:
    """On a dome about the things on the pedestal, 1.3 to 1.7 m away: a spiral of two turns that rises."""
    share = np.arange(num_frames) / max(num_frames - 1, 1)
    target = np.array([0.0, 0.0, 0.6])
    radius = 1.5 + 0.2 * np.sin(9 * share)
    directions = [towards(2 * math.pi * 2 * part, 0.25 + 0.75 * part) for part in share]
    return np.stack([looking(target + r * d, -d) for r, d in zip(radius, directions, strict=True)])


def along_street(num_frames: int = 40) -> Poses:
    """Six metres along the road at eye level, looking from side to side and along it."""
    share = np.arange(num_frames) / max(num_frames - 1, 1)
    positions = np.stack([6 * share - 3, 0.8 * np.sin(5 * share), 1.6 + 0.1 * np.sin(17 * share)], axis=-1)
    headings = np.radians(80) * np.sin(2 * math.pi * 2.5 * share)
    tilts = 0.05 + 0.08 * np.sin(11 * share)
    return np.stack([looking(p, towards(h, t)) for p, h, t in zip(positions, headings, tilts, strict=True)])


def along_corridor(num_frames: int = 60) -> Poses:
    """Seventeen metres along the corridor, looking ahead, to both sides, and, on every second frame, back."""
    share = np.arange(num_frames) / max(num_frames - 1, 1)
    positions = np.stack([17 * share - 8.5, 0.3 * np.sin(23 * share), 1.45 + 0.15 * np.sin(31 * share)], axis=-1)
    turns = np.radians([0.0, 50.0, 90.0, 180.0, -50.0, -90.0, 140.0])[np.arange(num_frames) % 7]
    tilts = -0.08 + 0.15 * np.sin(7 * np.arange(num_frames))
    return np.stack([looking(p, towards(h, t)) for p, h, t in zip(positions, turns, tilts, strict=True)])
