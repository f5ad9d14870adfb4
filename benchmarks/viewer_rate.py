"""Pictures a second that nerfstudio's viewer sends of a run while somebody moves, and where their time goes.

The viewer of `ns-viewer` is started on the run, and a visitor moves without a pause along the training cameras, 50
cameras a second, as viser's page sends them. The visitor is a process of its own: one that speaks the protocol and
draws nothing, or with `--client browser` viser's page in a headless Chromium, which draws on the same cores.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_json

CONSOLE = Console(soft_wrap=True, highlight=False)
OUTPUTS = ("rgb", "semantics_colormap", "semantics_overlay")
WARM_UP_S = 3.0
"""Before pictures are counted: the viewer looks for the size that it can draw in time."""
LONGEST_START_S = 300.0
WAITING, LOCK = "waiting for a camera", "waiting for the lock"


class Clock:
    """Seconds that a thread spends in named calls, without those of the named calls inside them."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = threading.local()

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Inside it the time is that of this name."""
        before, start = getattr(self._inner, "seconds", 0.0), time.perf_counter()
        self._inner.seconds = 0.0
        try:
            yield
        finally:
            whole = time.perf_counter() - start
            self.seconds[name] += whole - self._inner.seconds
            self._inner.seconds = before + whole

    def timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """A function, timed under a name."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.within(name):
                return call(*arguments, **options)

        return timed


class TimedLock:
    """A lock that tells how long it is waited for."""

    def __init__(self, lock: Any, clock: Clock) -> None:
        self._lock, self._clock = lock, clock

    def __enter__(self) -> None:
        with self._clock.within(LOCK):
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def start_viewer(config: Path) -> Any:
    """The viewer that `ns-viewer` opens on a run, in a thread of its own.

    Raises:
        SceneError: if there is none in time.
    """
    from nerfstudio.scripts.viewer import run_viewer
    from nerfstudio.viewer.viewer import Viewer

    found: list[Any] = []
    init_scene = Viewer.init_scene

    def keep(self: Viewer, *arguments: Any, **options: Any) -> None:
        init_scene(self, *arguments, **options)
        found.append(self)

    Viewer.init_scene = keep  # nerfstudio keeps its viewer to itself
    options = run_viewer.ViewerConfigWithoutNumRays(websocket_host="127.0.0.1")
    threading.Thread(target=run_viewer.RunViewer(config, options).main, daemon=True).start()
    end = time.monotonic() + LONGEST_START_S
    while not found:
        if time.monotonic() > end:
            raise SceneError(f"Expected a viewer within {LONGEST_START_S:.0f} s, found none; see the lines above.")
        time.sleep(0.05)
    return found[0]


def watch(viewer: Any) -> Clock:
    """Time the parts of a frame of a viewer from now on."""
    import viser._scene_api as scene
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    clock, model = Clock(), viewer.get_model()
    viewer.train_lock = TimedLock(viewer.train_lock, clock)
    for owner, call, name in (
        (RenderStateMachine, "_render_img", "camera, size, and depth for what stands in the scene"),
        (RenderStateMachine, "_send_output_to_viewer", "from the output to bytes, and the size in words"),
        (scene, "_encode_image_binary", "JPEG"),
        (scene.SceneApi, "set_background_image", "PNG of depth, and the message"),
        (model, "get_outputs_for_camera", "drawing"),
    ):
        setattr(owner, call, clock.timed(getattr(owner, call), name))
    run = RenderStateMachine.run

    def timed_run(self: Any) -> None:
        self.render_trigger.wait = clock.timed(self.render_trigger.wait, WAITING)
        run(self)

    RenderStateMachine.run = timed_run
    return clock


def task_of(viewer: Any, client: str, seconds: float, aspect: float) -> dict[str, Any]:
    """What a visitor is to do: a path along the training cameras in viser's world."""
    from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
    from viser.transforms import SO3

    cameras = viewer.pipeline.datamanager.train_dataset.cameras
    poses = cameras.camera_to_worlds.cpu().double().numpy()
    turns = [SO3.from_matrix(pose[:, :3] * np.array([1.0, -1.0, -1.0])).wxyz.tolist() for pose in poses]
    return {
        "client": client,
        "port": viewer.viser_server.get_port(),
        "seconds": WARM_UP_S + seconds,
        "aspect": aspect,
        "fov": float(2 * np.arctan(0.5 * cameras.height[0] / cameras.fy[0])),
        "positions": (VISER_NERFSTUDIO_SCALE_RATIO * poses[:, :, 3]).tolist(),
        "quaternions": turns,
    }


def _arrived(task: dict[str, Any]) -> "list[tuple[float, int, int]]":
    """Seconds, width and height of the pictures that a visitor gets.

    Raises:
        SceneError: if the visitor ends in an error.
    """
    command = [sys.executable, "-m", "benchmarks.viewer_client"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        answer, _ = process.communicate(json.dumps(task))
    if process.returncode:
        raise SceneError("Expected pictures of the viewer, found that the visitor ended; see the lines above.")
    return json.loads(answer)


def _wake(viewer: Any, aspect: float) -> None:
    """Have the kernels compiled, and the panel told which outputs there are."""
    end = time.monotonic() + LONGEST_START_S
    while not _arrived(task_of(viewer, "socket", 1.0, aspect)):
        if time.monotonic() > end:
            raise SceneError(f"Expected a picture within {LONGEST_START_S:.0f} s, found none; see the lines above.")


def visit(task: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """What one visit gives: intervals, sizes, and milliseconds of each part of a frame.

    Raises:
        SceneError: if the visitor ends in an error, or gets nearly no picture.
    """
    clock.seconds.clear()
    arrived = _arrived(task)
    counted = [frame for frame in arrived if frame[0] >= WARM_UP_S]
    if len(counted) < 2:
        raise SceneError(f"Expected pictures while the camera moves, found {len(counted)}.")
    times = np.array([frame[0] for frame in counted])
    widths = [frame[1] for frame in counted]
    return {
        "pictures_per_s": len(counted) / (task["seconds"] - WARM_UP_S),
        "median_interval_ms": 1e3 * float(np.median(np.diff(times))),
        "longest_interval_ms": 1e3 * float(np.diff(times).max()),
        "widths": [min(widths), int(np.median(widths)), max(widths)],
        "size": counted[len(counted) // 2][1:],
        # The parts are those of the warm-up, too.
        "parts_ms": {name: 1e3 * seconds / len(arrived) for name, seconds in clock.seconds.items()},
    }


def shown(name: str, visits: "list[dict[str, Any]]") -> str:
    """Lines on the visits of one output."""
    rates = [visit["pictures_per_s"] for visit in visits]
    middle = visits[int(np.argsort(rates)[len(rates) // 2])]
    least, median, most = middle["widths"]
    head = (
        f"{name}: {np.median(rates):.1f} pictures a second (best of {len(rates)}: {max(rates):.1f}), median interval "
        f"{middle['median_interval_ms']:.0f} ms, longest {middle['longest_interval_ms']:.0f} ms, "
        f"{median} pixels wide ({least} to {most})"
    )
    parts = sorted(middle["parts_ms"].items(), key=lambda part: -part[1])
    return "\n".join([head, *(f"  {milliseconds:6.1f} ms a picture: {part}" for part, milliseconds in parts)])


def main() -> None:
    """Open the viewer of a run, and move in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--outputs", nargs="+", default=OUTPUTS, help="what is looked at, in turn")
    parser.add_argument("--client", choices=("socket", "browser"), default="socket", help="who looks")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each visit, in which pictures are counted")
    parser.add_argument("--visits", type=int, default=3, help="to each output")
    parser.add_argument("--width", type=int, default=512, help="the viewer's largest side of a picture, pixels")
    parser.add_argument("--aspect", type=float, default=4 / 3, help="width over height of the visitor's window")
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    options = parser.parse_args()
    viewer = start_viewer(options.load_config)
    clock, panel = watch(viewer), viewer.control_panel
    panel._max_res.value = options.width
    _wake(viewer, options.aspect)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.outputs}
    for _ in range(options.visits):
        for name in options.outputs:
            panel._output_render.value = name
            found[name].append(visit(task_of(viewer, options.client, options.seconds, options.aspect), clock))
    for name, visits in found.items():
        CONSOLE.print(shown(name, visits))
    CONSOLE.print(f"load of the machine {os.getloadavg()[0]:.1f}")
    if options.output is not None:
        write_json(options.output, found)


if __name__ == "__main__":
    main()
