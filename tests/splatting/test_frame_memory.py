"""Frames in memory that is kept: the same to the bit, without allocations, and each in memory of its own."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from semantic_ns.splatting.frame_memory import FrameMemories, FrameMemory
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import draw, rasterize
from support.random_gaussians import CAMERA, random_gaussians


def some(gaussians: Gaussians, count: int) -> Gaussians:
    return Gaussians(
        gaussians.means[:count], gaussians.quats[:count], gaussians.scales[:count], gaussians.opacities[:count]
    )


def drawn(
    gaussians: Gaussians, features: Tensor, camera: PinholeCamera, memory: FrameMemory, is_antialiased: bool = False
) -> tuple[Tensor, ...]:
    """A frame whose features are taken from two tensors, in memory, too."""

    def features_of(rows: Tensor) -> list[Tensor]:
        parts = features[:, :1], features[:, 1:]
        return [
            torch.index_select(part, 0, rows, out=memory.take(name, len(rows), part.shape[1]))
            for name, part in zip("ab", parts, strict=True)
        ]

    return draw(gaussians, features_of, camera, memory, is_antialiased)[:3]


@pytest.mark.parametrize("is_antialiased", [False, True])
def test_frames_of_any_size_are_in_the_same_memory_to_the_bit_those_without_it(is_antialiased: bool) -> None:
    gaussians, features = random_gaussians(400)
    memory = FrameMemory()
    turned = replace(CAMERA, w2c=CAMERA.w2c + torch.tensor([0.0, 0.0, 0.0, 0.3]))
    smaller = replace(CAMERA, height=16, width=17)
    larger = replace(CAMERA, height=50, width=90)
    trials = [(CAMERA, 400, 3), (turned, 400, 3), (smaller, 100, 2), (larger, 400, 3), (CAMERA, 50, 3), (CAMERA, 0, 3)]
    for camera, count, channels in trials:
        own = some(gaussians, count), features[:count, :channels]
        found = drawn(*own, camera, memory, is_antialiased)
        expected = rasterize(*own, camera, is_antialiased=is_antialiased)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        assert bool(found[2].any()) == (count > 0)


def bytes_taken(frame: PinholeCamera, gaussians: Gaussians, features: Tensor, memory: FrameMemory) -> tuple[int, int]:
    """Bytes that torch and numpy allocate for one frame."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as watched:
        drawn(gaussians, features, frame, memory)
    events: Any = watched.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    of_torch = sum(max(event.nbytes(), 0) for event in events if event.name() == "[memory]")
    tracemalloc.start()
    drawn(gaussians, features, frame, memory)
    of_numpy = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return of_torch, of_numpy


def test_the_next_frame_of_the_same_size_allocates_nothing() -> None:
    gaussians, features = random_gaussians(20_000)
    memory = FrameMemory()
    camera = replace(CAMERA, lens=4 * CAMERA.lens, height=108, width=164)
    drawn(gaussians, features, camera, memory)
    size = memory.num_bytes
    moved = replace(camera, w2c=camera.w2c + torch.tensor([0.0, 0.0, 0.0, 0.01]))
    for frame in (camera, moved):
        # Of lists of tensors and arrays, not of what is in them.
        of_torch, of_numpy = bytes_taken(frame, gaussians, features, memory)
        assert of_torch < 256
        assert of_numpy < size / 4  # by whatever looks at the types of arguments in tests
    assert memory.num_bytes == size
    of_torch, _ = bytes_taken(camera, gaussians, features, FrameMemory())
    assert of_torch > size / 2  # such allocations are seen


def test_who_draws_at_the_same_time_has_memory_of_its_own_and_the_next_has_one_of_before() -> None:
    gaussians, features = random_gaussians(300)
    turned = replace(CAMERA, w2c=CAMERA.w2c + torch.tensor([0.0, 0.0, 0.0, 0.3]))
    memories = FrameMemories()
    with memories.lent() as one:
        first = drawn(gaussians, features, CAMERA, one)
        with memories.lent() as other:
            assert other is not one
            drawn(gaussians, features, turned, other)
        for found, expected in zip(first, rasterize(gaussians, features, CAMERA), strict=True):
            assert torch.equal(found, expected)
    with memories.lent() as again:
        assert again in {one, other}


def test_threads_that_draw_at_the_same_time_see_frames_of_their_own() -> None:
    gaussians, features = random_gaussians(300)
    memories, all_draw = FrameMemories(), Barrier(3)
    sizes = [(24, 31, 1), (70, 90, 3), (16, 40, 2)]

    def frames(thread: int) -> list[tuple[Tensor, ...]]:
        found = []
        for turn in range(6):
            height, width, channels = sizes[(thread + turn) % 3]
            with memories.lent() as memory:
                all_draw.wait(60)
                frame = drawn(gaussians, features[:, :channels], replace(CAMERA, height=height, width=width), memory)
                all_draw.wait(60)
                found.append(tuple(part.clone() for part in frame))
        return found

    with ThreadPoolExecutor(3) as pool:
        of_threads = list(pool.map(frames, range(3)))
    for thread, found in enumerate(of_threads):
        for turn, frame in enumerate(found):
            height, width, channels = sizes[(thread + turn) % 3]
            camera = replace(CAMERA, height=height, width=width)
            for one, other in zip(frame, rasterize(gaussians, features[:, :channels], camera), strict=True):
                assert torch.equal(one, other)


def test_of_memories_that_nobody_has_no_more_is_kept_than_was_said() -> None:
    memories = FrameMemories(most_kept=1000)
    with memories.lent() as huge:
        huge.take("image", 1000)
    with memories.lent() as one, memories.lent() as other:
        assert huge not in {one, other}
        one.take("image", 150)
        other.take("image", 100)  # given back first; both together are too large
    with memories.lent() as kept, memories.lent() as anew:
        assert kept is other
        assert anew is not one


def test_a_frame_in_inference_mode_leaves_memory_that_any_frame_is_drawn_in() -> None:
    gaussians, features = random_gaussians(100)
    memory = FrameMemory()
    with torch.inference_mode():
        drawn(gaussians, features, CAMERA, memory)
    for found, expected in zip(
        drawn(gaussians, features, CAMERA, memory), rasterize(gaussians, features, CAMERA), strict=True
    ):
        assert torch.equal(found, expected)


def test_memory_is_given_back_by_a_frame_that_fails() -> None:
    memories = FrameMemories()
    with memories.lent() as one:
        pass
    with pytest.raises(ValueError, match="no frame"), memories.lent():
        raise ValueError("no frame")
    with memories.lent() as again:
        assert again is one
