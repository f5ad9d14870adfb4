"""Open a trained run in nerfstudio's viewer with a headless Chromium and check what is on the screen.

The browser is driven through its DevTools protocol, so nothing but Chromium and `websockets` (which the viewer needs
itself) has to be there. The colours to look for are read from the class legend on the page, so this also checks that
the legend is shown.
"""

import base64
import contextlib
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tyro
from numpy import ndarray
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = (
    "--headless",
    "--no-sandbox",  # needed where Chromium runs as root
    "--no-first-run",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--window-size=1440,1040",
    "--remote-debugging-port=0",
)
OUTPUT_LABEL = "Output type"
HIDE_CAMERAS = "Hide Train Cams"
COLOR_TOLERANCE = 24
"""Largest difference of a channel (0..255): the viewer sends JPEG."""
SMALLEST_SHARE = 0.001
"""Share of the view that a class must fill to count as shown."""
REST_S = 2.0
"""A picture that stays the same for so long is the finished one: the viewer refines what it shows."""
PANEL_MARGIN_PX = 40
"""Room between the left edge of the side panel and that of its labels, at least."""

FIND_LEGEND = """
[...document.querySelectorAll("span")].filter(s => s.style.background.startsWith("rgb"))
    .map(s => ({name: s.parentElement.innerText, color: s.style.background.match(/\\d+/g).map(Number)}))
"""
SHOW_LEGEND = """
[...document.querySelectorAll("span")].filter(s => s.style.background.startsWith("rgb")).at(-1)
    .scrollIntoView({block: "end"})
"""
FIND_CENTRE = """
(() => {
    const found = [...document.querySelectorAll(%s)].find(e => e.textContent.trim() === %s && e.offsetParent);
    if (!found) return null;
    const target = (found.htmlFor && document.getElementById(found.htmlFor)) || found;
    target.scrollIntoView({block: "center"});
    const box = target.getBoundingClientRect();
    return {x: box.x + box.width / 2, y: box.y + box.height / 2, left: found.getBoundingClientRect().x};
})()
"""
Found = TypeVar("Found")


@dataclass
class CheckViewer:
    """Select an output in the viewer and check that its class colours are on the screen."""

    load_config: Path | None = None
    """The run's config.yml, to start ns-viewer; leave it out with --url."""
    url: str | None = None
    """Address of a viewer that is already open, for example of a training that runs."""
    output: str = "semantics_colormap"
    """The output to select."""
    picture: Path = Path("viewer.png")
    """Where to save the screenshot."""
    min_classes: int = 4
    """How many classes must be seen."""
    timeout_s: float = 180.0
    """Longest wait for the server, the page and the picture, each."""

    def main(self) -> None:
        """Start what is needed, look, and say what was seen."""
        with contextlib.ExitStack() as stack:
            url = self.url or stack.enter_context(running_viewer(self._config(), self.timeout_s))
            page = stack.enter_context(open_page(self.timeout_s))
            page.call("Page.navigate", url=url)
            shares = self._look(page)
        seen = {name: share for name, share in shares.items() if share >= SMALLEST_SHARE}
        for name, share in sorted(seen.items(), key=lambda item: -item[1]):
            print(f"{share:7.1%}  {name}")
        if len(seen) < self.min_classes:
            raise SceneError(
                f"Expected at least {self.min_classes} class colours in the viewer's {self.output}, found {len(seen)} "
                f"after {self.timeout_s:.0f} s; see {self.picture}."
            )
        print(f"{len(seen)} classes are on the screen: {self.picture}")

    def _config(self) -> Path:
        if self.load_config is None or not self.load_config.is_file():
            raise SceneError(f"Expected a config.yml with --load-config, or --url, found {self.load_config}.")
        return self.load_config

    def _select_output(self, page: "Page") -> float:
        """Choose the output in its list; gives the left edge of the side panel."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            left = page.click("label", OUTPUT_LABEL, self.timeout_s)
            try:
                page.click("[role=option]", self.output, 8.0)
                return left
            except SceneError:
                # The list is filled, and closed, when the first picture is there.
                if time.monotonic() > deadline:
                    raise

    def _look(self, page: "Page") -> dict[str, float]:
        """Select the output and watch the picture until it rests and shows enough classes, or the time is over."""
        panel_left = self._select_output(page)
        if page.find("button", HIDE_CAMERAS):  # An earlier visitor of the same viewer may have hidden them.
            page.click("button", HIDE_CAMERAS, self.timeout_s)
        legend = wait_for(lambda: page.evaluate(FIND_LEGEND), self.timeout_s, "class legend in the viewer")
        page.evaluate(SHOW_LEGEND)
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)  # A hint would cover the panel.
        shares: dict[str, float] = {}
        screen = page.screenshot()
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            time.sleep(REST_S)
            last, screen = screen, page.screenshot()
            shares = class_shares(screen[:, : int(panel_left) - PANEL_MARGIN_PX], legend)
            num_seen = sum(share >= SMALLEST_SHARE for share in shares.values())
            if num_seen >= self.min_classes and np.array_equal(last, screen):
                break
        self.picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(screen).save(self.picture)
        return shares


def class_shares(view: ndarray, legend: list[dict[str, Any]]) -> dict[str, float]:
    """Share of the pixels of a view [H, W, 3] that have the colour of each class of the legend."""
    pixels = view.reshape(-1, 3).astype(np.int16)
    return {
        entry["name"]: float((np.abs(pixels - entry["color"]).max(1) <= COLOR_TOLERANCE).mean()) for entry in legend
    }


def wait_for(look: Callable[[], Found | None], timeout_s: float, what: str) -> Found:
    """Call `look` until it gives something.

    Raises:
        SceneError: if it gave nothing within the time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise SceneError(f"Expected {what} within {timeout_s:.0f} s, found none.")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; what it prints goes to the log file."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def running_viewer(config: Path, timeout_s: float) -> Iterator[str]:
    """Start ns-viewer on a free port and give its address once it answers."""
    port = free_port()
    options = ["--load-config", str(config), "--viewer.websocket-host", "127.0.0.1"]
    command = [sys.executable, "-m", "nerfstudio.scripts.viewer.run_viewer", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "viewer.log"
        with running([*command, "--viewer.websocket-port", str(port)], log) as process:

            def answers() -> bool:
                if process.poll() is not None:
                    raise SceneError(f"Expected ns-viewer to run, found that it ended:\n{log.read_text()}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    return True
                return False

            wait_for(answers, timeout_s, "ns-viewer's server")
            yield f"http://127.0.0.1:{port}"


class Page:
    """One browser page, driven through the DevTools protocol.

    Args:
        connection: Websocket of the page's debugger.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result; events that come in between are dropped."""
        self._last_id += 1
        self._connection.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; None while the page cannot tell."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def find(self, selector: str, text: str) -> dict[str, float] | None:
        """Where to click on the visible element with this text: x, y and its left edge; None if there is none."""
        return self.evaluate(FIND_CENTRE % (json.dumps(selector), json.dumps(text)))

    def click(self, selector: str, text: str, timeout_s: float) -> float:
        """Click the visible element with this text, or the input that it labels; gives the element's left edge."""
        place = wait_for(lambda: self.find(selector, text), timeout_s, f"'{text}' on the viewer's page")
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": place["x"], "y": place["y"], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **where)
        return place["left"]

    def screenshot(self) -> ndarray:
        """What is on the screen, uint8 [H, W, 3]."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@contextlib.contextmanager
def open_page(timeout_s: float) -> Iterator[Page]:
    """Start a browser with an empty profile and give its first page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SceneError(f"Expected one of {', '.join(BROWSERS)} on PATH, found none; install Debian's chromium.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder) / "profile"
        port_file = profile / "DevToolsActivePort"
        with running([browser, *BROWSER_FLAGS, f"--user-data-dir={profile}", "about:blank"], Path(folder) / "log"):
            port = wait_for(lambda: port_file.exists() and port_file.read_text().split("\n")[0], timeout_s, "browser")

            def debugger() -> str | None:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [page for page in json.load(answer) if page["type"] == "page"]
                return pages[0]["webSocketDebuggerUrl"] if pages else None

            with connect(wait_for(debugger, timeout_s, "page"), max_size=None) as connection:
                yield Page(connection)


if __name__ == "__main__":
    command = tyro.cli(CheckViewer)
    run_command(command.main)
