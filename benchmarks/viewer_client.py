"""Visitors of nerfstudio's viewer who move all the time, in a process of their own.

One speaks viser's protocol and draws nothing, as a person's browser on another machine costs the server nothing. The
other one is a headless Chromium that drags the mouse over the page; it draws the page on the same cores.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

MOVES_PER_S = 50.0
"""Cameras a second that viser's page sends while somebody moves (one in 20 ms)."""
POSES_PER_S = 3.0
"""Training cameras that the path passes in a second."""
COUNT_FRAMES = """
window.snsFrames = [];
window.Worker = class extends window.Worker {
    constructor(...given) {
        super(...given);
        this.addEventListener("message", event => {
            for (const message of event.data.messages || [])
                if (message.type === "BackgroundImageMessage")
                    window.snsFrames.push([performance.now() / 1000, message.rgb_bytes.slice()]);
        });
    }
};
"""
SIZES = """
Promise.all(snsFrames.map(async ([at, bytes]) => {
    const image = await createImageBitmap(new Blob([bytes], {type: "image/jpeg"}));
    return [at, image.width, image.height];
}))
"""
WINDOW = {"width": 1280, "height": 960}


def at_pose(
    positions: Float[ndarray, "poses 3"], quaternions: Float[ndarray, "poses 4"], place: float
) -> tuple[list[float], list[float]]:
    """Position and quaternion at a place of the path through poses, which is closed; place 1 is that of the second."""
    first = int(place) % len(positions)
    second, share = (first + 1) % len(positions), place % 1
    turn, other = quaternions[first], quaternions[second]
    other = other if turn @ other >= 0 else -other
    quaternion = (1 - share) * turn + share * other
    position = (1 - share) * positions[first] + share * positions[second]
    return position.tolist(), (quaternion / np.linalg.norm(quaternion)).tolist()


def move_by_socket(task: dict[str, Any]) -> "list[tuple[float, int, int]]":
    """Seconds, width and height of each picture that arrives while cameras are sent."""
    positions, quaternions = np.array(task["positions"]), np.array(task["quaternions"])

    def camera(seconds: float) -> bytes:
        position, wxyz = at_pose(positions, quaternions, POSES_PER_S * seconds)
        return msgspec.msgpack.encode({
            "type": "ViewerCameraMessage", "wxyz": wxyz, "position": position, "fov": task["fov"],
            "aspect": task["aspect"], "look_at": [0.0, 0.0, 0.0], "up_direction": [0.0, 0.0, 1.0],
        })  # fmt: skip

    arrived: list[tuple[float, bytes]] = []
    with connect(f"ws://127.0.0.1:{task['port']}", max_size=None) as connection:
        start, sent = time.monotonic(), 0
        while (now := time.monotonic() - start) < task["seconds"]:
            if now * MOVES_PER_S >= sent:
                connection.send(camera(now))
                sent = int(now * MOVES_PER_S) + 1
            messages = _received(connection, sent / MOVES_PER_S - (time.monotonic() - start))
            pictures = [message for message in messages if message["type"] == "BackgroundImageMessage"]
            arrived.extend((time.monotonic() - start, picture["rgb_bytes"]) for picture in pictures)
    return [(seconds, *Image.open(io.BytesIO(picture)).size) for seconds, picture in arrived]


def _received(connection: ClientConnection, seconds: float) -> "list[dict[str, Any]]":
    """What arrives next, within some seconds."""
    try:
        found = msgspec.msgpack.decode(cast(bytes, connection.recv(timeout=max(seconds, 1e-3))))
    except TimeoutError:
        return []
    return list(found) if isinstance(found, list) else [found]


def move_by_browser(task: dict[str, Any]) -> "list[tuple[float, int, int]]":
    """Seconds, width and height of each picture that reaches viser's page while the mouse is dragged over it."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
    from browser import open_page

    with open_page(60) as page:
        page.call("Emulation.setDeviceMetricsOverride", **WINDOW, deviceScaleFactor=1.0, mobile=False)
        page.call("Page.enable")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=COUNT_FRAMES)
        page.call("Page.navigate", url=f"http://127.0.0.1:{task['port']}")
        page.wait_until("window.snsFrames && snsFrames.length", 120)
        middle = 0.3 * WINDOW["width"], 0.5 * WINDOW["height"]
        page.mouse("mouseMoved", *middle, button="none")
        page.mouse("mousePressed", *middle)
        start, first = time.monotonic(), page.value("performance.now() / 1000")
        while (now := time.monotonic() - start) < task["seconds"]:
            angle = now
            page.mouse("mouseMoved", middle[0] + 150 * np.sin(angle), middle[1] + 60 * np.sin(2 * angle), buttons=1)
            time.sleep(1 / MOVES_PER_S)
        frames = page.value(SIZES)
    return [(at - first, width, height) for at, width, height in frames if at >= first]


CLIENTS: dict[str, Callable[[dict[str, Any]], "list[tuple[float, int, int]]"]] = {
    "socket": move_by_socket,
    "browser": move_by_browser,
}


def main() -> None:
    """Do the task that comes in, and say what arrived."""
    task = json.load(sys.stdin)
    try:
        json.dump(CLIENTS[task["client"]](task), sys.stdout)
    except ConnectionClosed as error:
        raise SystemExit(f"The viewer has ended: {error}.") from error


if __name__ == "__main__":
    main()
