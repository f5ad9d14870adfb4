"""What the captures show: rooms and streets of boxes and balls, plain in part, as real walls are."""

import numpy as np

from semantic_ns.synthetic_scene import Box, Content, Room, Sphere, Texture, make_objects

PLAIN = Texture(strength=0.0)
"""Walls, ceilings, sky: colour says nothing about how far they are."""
FAINT = Texture(strength=0.02, frequency=0.5)
"""Fresh plaster, a lawn from afar."""
PATTERN = Texture(strength=0.18, frequency=1.0, num_waves=3)
FINE = Texture(strength=0.15, frequency=2.2, num_waves=3)
COARSE = Texture(strength=0.2, frequency=0.12, num_waves=3)
"""Waves of some metres to tens of metres, for what is far."""

ROOM_CLASSES = {80: "table", 20: "chair", 76: "sofa", 18: "cabinet", 37: "door", 97: "window", 29: "cushion",
                47: "lamp", 40: "floor", 93: "wall", 31: "ceiling"}  # fmt: skip
HALL_CLASSES = {1: "floor", 2: "wall", 3: "ceiling", 4: "pedestal", 5: "vase", 6: "box", 7: "ball", 8: "picture",
                9: "door"}  # fmt: skip
STREET_CLASSES = {1: "road", 2: "sky", 3: "hill", 4: "house", 5: "door", 6: "window", 7: "pavement", 8: "trunk",
                  9: "crown", 10: "car", 11: "tower"}  # fmt: skip
CORRIDOR_CLASSES = {1: "floor", 2: "wall", 3: "ceiling", 4: "door", 5: "handle", 6: "lamp", 7: "notice board",
                    8: "bench", 9: "plant", 10: "pot", 11: "extinguisher"}  # fmt: skip

CORRIDOR_HALF_SIZE = (10.0, 1.0, 1.25)
SKY_M = 300.0
"""Distance of the sky from the middle of the street, along an axis."""


def furnished_room() -> Content:
    """The furnished room with two plain walls, a plain ceiling and a patterned floor."""
    textures = (PLAIN, Texture(), FAINT, Texture(), PATTERN, PLAIN)
    return Content(make_objects(), Room(textures=textures))


def hall() -> Content:
    """Things on a pedestal in the middle of a hall of 14 x 12 x 5 m."""
    colors = (
        (0.8, 0.78, 0.7),
        (0.7, 0.75, 0.8),
        (0.78, 0.8, 0.75),
        (0.8, 0.72, 0.72),
        (0.5, 0.4, 0.32),
        (0.9, 0.9, 0.9),
    )
    room = Room((7.0, 6.0, 2.5), (2, 2, 2, 2, 1, 3), colors, (PLAIN, FAINT, PLAIN, FAINT, PATTERN, PLAIN))
    objects = (
        Box(4, (0.55, 0.5, 0.45), (0.0, 0.0, 0.3), (0.45, 0.35, 0.3), FAINT),
        Sphere(5, (0.25, 0.45, 0.7), (-0.2, 0.05, 0.78), 0.18, FINE),
        Box(6, (0.7, 0.4, 0.2), (0.2, -0.1, 0.7), (0.13, 0.1, 0.1), FINE),
        Sphere(7, (0.8, 0.2, 0.25), (0.22, -0.1, 0.89), 0.09),
        Box(8, (0.35, 0.5, 0.35), (0.5, 5.97, 1.8), (1.2, 0.03, 0.7), PATTERN),
        Box(8, (0.6, 0.45, 0.3), (-6.97, 1.0, 1.8), (0.03, 1.0, 0.8), PATTERN),
        Box(8, (0.4, 0.3, 0.55), (6.97, -1.5, 1.7), (0.03, 1.4, 0.6), PATTERN),
        Box(9, (0.4, 0.25, 0.2), (-2.0, -5.97, 1.05), (0.5, 0.03, 1.05), FAINT),
        Box(9, (0.4, 0.25, 0.2), (2.4, -5.97, 1.05), (0.5, 0.03, 1.05), FAINT),
    )
    return Content(objects, room)


def street() -> Content:
    """A road along x with houses 5 to 30 m away, hills and a tower at 100 to 250 m, and a plain sky at 300 m."""
    # Sides of the sky are lit unequally, which their colours make up for.
    skies = [(0.5 * light, 0.6 * light, 0.72 * light) for light in (1.23, 1.45, 1.19, 1.51, 0.8, 1.9)]
    skies[4] = (0.42, 0.42, 0.4)
    room = Room((SKY_M, SKY_M, SKY_M), (2, 2, 2, 2, 1, 2), tuple(skies), (PLAIN,) * 4 + (PATTERN, PLAIN))
    generator = np.random.default_rng(0)
    objects: list[Box | Sphere] = []
    for side in (-1.0, 1.0):
        objects.append(Box(7, (0.6, 0.58, 0.55), (0.0, side * 5.0, 0.06), (60.0, 1.0, 0.06), FINE))
        for number, x in enumerate((-26.0, -14.0, -2.0, 10.0, 22.0)):
            distance, height = generator.uniform(7.0, 12.0), generator.uniform(2.5, 4.5)
            color = tuple(generator.uniform(0.45, 0.85, 3).tolist())
            # Every second front is plain.
            texture = (FAINT, Texture(0.12, 0.6, 3))[number % 2]
            objects += _house((x + generator.uniform(-1, 1), side * distance), side, height, color, texture)
    for x, y in ((-9.0, 5.4), (4.5, -5.5), (15.0, 5.3), (-19.0, -5.2)):
        objects += [
            Box(8, (0.35, 0.25, 0.15), (x, y, 1.2), (0.15, 0.15, 1.2), FINE),
            Sphere(9, (0.2, 0.45, 0.18), (x, y, 3.0), 1.1, FINE),
        ]
    for x, y, color in ((7.5, 3.2, (0.7, 0.15, 0.15)), (-8.0, -3.1, (0.2, 0.3, 0.6)), (19.0, -3.2, (0.8, 0.8, 0.78))):
        objects.append(Box(10, color, (x, y, 0.7), (2.0, 0.8, 0.7), FAINT))
    for centre, half_size in (
        ((200.0, 30.0, 10.0), (40.0, 90.0, 22.0)),
        ((-190.0, -40.0, 8.0), (50.0, 80.0, 26.0)),
        ((20.0, 160.0, 10.0), (120.0, 40.0, 18.0)),
        ((-30.0, -150.0, 8.0), (110.0, 40.0, 20.0)),
    ):
        objects.append(Box(3, (0.35, 0.5, 0.3), centre, half_size, COARSE))
    objects.append(Box(11, (0.6, 0.5, 0.45), (110.0, -12.0, 20.0), (5.0, 5.0, 20.0), Texture(0.15, 0.3, 3)))
    return Content(tuple(objects), room)


def _house(front: tuple[float, float], side: float, height: float, color: tuple, texture: Texture) -> list[Box]:
    """A house with its front at a distance from the road, a door and two windows in it."""
    x, y = front
    found = [Box(4, color, (x, y + side * 4.0, height), (4.5, 4.0, height), texture)]
    found.append(Box(5, (0.35, 0.2, 0.12), (x, y, 1.05), (0.5, 0.05, 1.05), FAINT))
    found += [Box(6, (0.25, 0.35, 0.45), (x + dx, y, 1.9), (0.9, 0.05, 0.6), FAINT) for dx in (-2.5, 2.5)]
    return found


def corridor() -> Content:
    """A corridor of 20 x 2 x 2.5 m with plain walls, eight doors on each side and few things."""
    wall, ceiling = (0.82, 0.8, 0.74), (0.92, 0.92, 0.9)
    colors = ((0.7, 0.72, 0.78), (0.76, 0.7, 0.68), wall, (0.78, 0.8, 0.78), (0.45, 0.42, 0.4), ceiling)
    room = Room(CORRIDOR_HALF_SIZE, (2, 2, 2, 2, 1, 3), colors, (FAINT, FAINT, PLAIN, FAINT, FINE, PLAIN))
    generator = np.random.default_rng(1)
    objects: list[Box | Sphere] = []
    for number, x in enumerate(np.linspace(-8.75, 8.75, 8).tolist()):
        for side in (-1.0, 1.0):
            color = tuple((generator.uniform(0.3, 0.6) * np.array([1.0, 0.65, 0.45])).tolist())
            objects.append(Box(4, color, (x, side * 0.98, 1.03), (0.45, 0.03, 1.03), (Texture(), PLAIN)[number % 2]))
            objects.append(Box(5, (0.75, 0.72, 0.6), (x + 0.36, side * 0.93, 1.05), (0.06, 0.03, 0.02)))
    objects += [Box(6, (0.98, 0.97, 0.9), (x, 0.0, 2.48), (0.6, 0.12, 0.03), PLAIN) for x in (-7.5, -2.5, 2.5, 7.5)]
    for x, side in ((-7.5, -1.0), (-2.6, 1.0), (2.4, -1.0), (5.0, 1.0)):
        color = tuple(generator.uniform(0.3, 0.75, 3).tolist())
        objects.append(Box(7, color, (x, side * 0.985, 1.5), (0.5, 0.02, 0.35), FINE))
    objects += [
        Box(8, (0.35, 0.45, 0.55), (-5.0, 0.78, 0.22), (0.6, 0.2, 0.22), Texture()),
        Box(10, (0.6, 0.35, 0.25), (0.0, -0.8, 0.18), (0.17, 0.17, 0.18)),
        Sphere(9, (0.2, 0.5, 0.2), (0.0, -0.8, 0.62), 0.27, FINE),
        Box(11, (0.8, 0.12, 0.1), (7.4, 0.92, 0.75), (0.09, 0.09, 0.25)),
    ]
    return Content(tuple(objects), room)
