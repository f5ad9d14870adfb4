"""Open a trained run in nerfstudio's viewer with a headless Chromium and check what is on the screen.

The colours to look for are read from the class legend on the page, so this also checks that
the legend is shown.
"""

import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from browser import Page, open_page, running, wait_for
from numpy import ndarray
from PIL import Image

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

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

    def _select_output(self, page: Page) -> float:
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

    def _look(self, page: Page) -> dict[str, float]:
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


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


if __name__ == "__main__":
    command = tyro.cli(CheckViewer)
    run_command(command.main)
