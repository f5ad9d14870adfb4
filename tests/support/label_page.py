"""The labelling page in a browser, as a person uses it."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from support.fresh_process import ROOT
from support.label_session import SmallSession

sys.path.insert(0, str(ROOT / "scripts"))
from browser import ALT, BROWSERS, CONTROL, SHIFT, Page, installed_browser, open_browser

__all__ = [
    "ALT",
    "CONTROL",
    "FLOOR",
    "NO_BROWSER",
    "ON_FLOOR",
    "ON_SOFA",
    "ON_WALL",
    "SHIFT",
    "SOFA",
    "WALL",
    "LabelPage",
    "is_tinted",
    "marked_classes",
    "open_browser",
    "shapes",
]
NO_BROWSER = None if installed_browser() else f"needs one of {', '.join(BROWSERS)} on PATH"
"""Why the page cannot be tested; None if it can."""
WALL, FLOOR, SOFA = 0, 1, 2
ON_SOFA, ON_WALL, ON_FLOOR = (48.0, 78.0), (20.0, 20.0), (120.0, 110.0)
"""Places of the first frame, in its pixels."""


class LabelPage:
    """The page, as a person uses it: places are pixels of the frame that is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def show(self) -> None:
        """Bring the tab to the front: nothing is drawn in another one."""
        self.page.call("Page.bringToFront")

    def open(self, address: str, width: int = 1280, height: int = 720, ratio: float = 1.0) -> None:
        self.page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=False
        )
        self.show()
        self.page.call("Page.navigate", url="about:blank")
        self.page.wait_until("location.href === 'about:blank'")
        self.page.call("Page.navigate", url=address)
        self.wait_until_ready()

    def reload(self) -> None:
        self.page.value("delete document.documentElement.dataset.ready")
        self.page.call("Page.reload")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.page.wait_until("document.documentElement.dataset.ready && snsLabel.view.picture")

    def on_screen(self, place: tuple[float, float]) -> dict[str, float]:
        return self.page.value(f"snsLabel.view.toScreen({place[0]}, {place[1]})")

    def stroke(self, *places: tuple[float, float], button: str = "left") -> None:
        self.show()
        points = [self.on_screen(place) for place in places]
        self.page.mouse("mouseMoved", points[0]["x"], points[0]["y"])
        self.page.mouse("mousePressed", points[0]["x"], points[0]["y"], button)
        for point in points[1:]:
            self.page.mouse("mouseMoved", point["x"], point["y"], button, buttons=1 if button == "left" else 2)
        self.page.mouse("mouseReleased", points[-1]["x"], points[-1]["y"], button)

    def point_at(self, place: tuple[float, float]) -> None:
        point = self.on_screen(place)
        self.page.mouse("mouseMoved", point["x"], point["y"], "none")
        # Moves come with the next picture that is drawn.
        near = f"Math.hypot(snsLabel.view.pointer.x - {place[0]}, snsLabel.view.pointer.y - {place[1]}) < 1"
        self.page.wait_until(f"snsLabel.view.pointer && {near}")

    def keys(self, *keys: str, modifiers: int = 0) -> None:
        for key in keys:
            self.page.press(key, modifiers)

    def wait_until_saved(self) -> None:
        self.page.wait_until(
            "!snsLabel.store.queue.length && !snsLabel.store.isPumping"
            " && document.getElementById('state').dataset.kind === 'saved'"
            " && snsLabel.store.layers.get(snsLabel.store.shown)?.revision >= snsLabel.store.state.revision"
        )

    def colors(self, *places: tuple[float, float]) -> ndarray:
        """What is on the screen at places, [places, 3], after the page has drawn what it knows, without the brush."""
        self.show()
        self.page.mouse("mouseMoved", 300, 5, "none")
        self.page.value("new Promise(done => snsLabel.view.afterDraw(() => requestAnimationFrame(done)))")
        screen = self.page.screenshot()
        ratio = self.page.value("devicePixelRatio")
        points = [self.on_screen(place) for place in places]
        return np.array([screen[int(ratio * point["y"]), int(ratio * point["x"])] for point in points]).astype(int)

    def text(self, id_: str) -> str:
        return self.page.value(f"document.getElementById('{id_}').textContent")


def shapes(session: SmallSession) -> list[dict[str, Any]]:
    return [dict(one.shape) for _, one in session.marks]


def marked_classes(session: SmallSession) -> list[int | None]:
    return [one.class_id for _, one in session.marks]


def is_tinted(color: ndarray, before: ndarray, class_color: Sequence[int]) -> bool:
    """Whether a colour lies between what was there and a class colour, nearer to it by a third at least."""
    target = np.array(class_color)
    return bool(np.abs(color - target).sum() < 0.67 * np.abs(before - target).sum())
