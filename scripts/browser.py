"""A headless Chromium, driven through its DevTools protocol.

Nothing but Chromium and `websockets`, which nerfstudio's viewer needs itself, has to be there.
"""

import base64
import contextlib
import io
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy import ndarray
from PIL import Image
from websockets.sync.client import ClientConnection, connect

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
    "--window-size=1440,1040",
    "--remote-debugging-port=0",
)
WITH_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Flags for WebGL without a GPU, by far the slower way to draw everything else."""
WITHOUT_WEBGL = ("--disable-gpu",)
LONGEST_CALL_S = 120.0
"""Time after which a page that does not answer is given up."""
SHIFT = 8
CONTROL = 2
ALT = 1
"""Modifiers of keys and of the mouse, as the protocol counts them."""
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
WAIT_UNTIL = """
new Promise((resolve, reject) => {
    const end = performance.now() + %d;
    const look = () => {
        let found = null;
        try { found = (%s); } catch (error) { if (performance.now() > end) reject(error); }
        if (found) resolve(true);
        else if (performance.now() > end) resolve(null);
        else setTimeout(look, 10);
    };
    look();
})
"""
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], timeout_s: float, what: str, step_s: float = 0.2) -> Found:
    """Call `look` until it gives something.

    Raises:
        SceneError: if it gave nothing within the time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(step_s)
    raise SceneError(f"Expected {what} within {timeout_s:.0f} s, found none.")


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; what it prints goes to the log file."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()


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
            message = json.loads(self._connection.recv(timeout=LONGEST_CALL_S))
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; None while the page cannot tell."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of the promise that it is.

        Raises:
            RuntimeError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait_until(self, expression: str, timeout_s: float = 20.0) -> None:
        """Wait until a JavaScript expression is true; where the page is being left, on the one that follows.

        Raises:
            SceneError: if it was not within the time.
        """
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            try:
                if self.value(WAIT_UNTIL % (1000 * left, expression)):
                    return
            except RuntimeError as error:
                if "navigated or closed" not in str(error):
                    raise
        raise SceneError(f"Expected on the page within {timeout_s:.0f} s: {expression}")

    def find(self, selector: str, text: str) -> dict[str, float] | None:
        """Where to click on the visible element with this text: x, y and its left edge; None if there is none."""
        return self.evaluate(FIND_CENTRE % (json.dumps(selector), json.dumps(text)))

    def click(self, selector: str, text: str, timeout_s: float) -> float:
        """Click the visible element with this text, or the input that it labels; gives the element's left edge."""
        place = wait_for(lambda: self.find(selector, text), timeout_s, f"'{text}' on the page")
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, place["x"], place["y"])
        return place["left"]

    def mouse(self, kind: str, x: float, y: float, button: str = "left", **further: Any) -> None:
        """Move, press or release the mouse (`mouseMoved`, `mousePressed`, `mouseReleased`) at a place of the page."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1, **further)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key, by its name in `KeyboardEvent.key`."""
        code = {"Enter": 13, "Escape": 27, "Backspace": 8}.get(key, 0)
        text = {"text": key} if len(key) == 1 and not modifiers & CONTROL else {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self) -> ndarray:
        """What is on the screen, uint8 [H, W, 3]."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def installed_browser() -> str | None:
    """Path of a browser of this machine; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextlib.contextmanager
def open_browser(timeout_s: float, flags: tuple[str, ...] = WITHOUT_WEBGL) -> Iterator[Callable[[], Page]]:
    """Start a browser with an empty profile and give what opens pages in it; the first one is there already.

    Args:
        timeout_s: Longest wait for the browser and for each page.
        flags: Further flags of the browser.

    Raises:
        SceneError: there is no browser, or it does not start.
    """
    browser = installed_browser()
    if browser is None:
        raise SceneError(f"Expected one of {', '.join(BROWSERS)} on PATH, found none; install Debian's chromium.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        profile = Path(folder) / "profile"
        port_file = profile / "DevToolsActivePort"
        command = [browser, *BROWSER_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        stack.enter_context(running(command, Path(folder) / "log"))
        port = wait_for(
            lambda: port_file.exists() and port_file.read_text().split("\n")[0], timeout_s, "browser", step_s=0.05
        )
        opened: set[str] = set()

        def unopened() -> dict[str, str] | None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page" and page["id"] not in opened]
            return pages[0] if pages else None

        def another() -> Page:
            if opened:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
                urllib.request.urlopen(request).close()
            page = wait_for(unopened, timeout_s, "page", step_s=0.05)
            opened.add(page["id"])
            return Page(stack.enter_context(connect(page["webSocketDebuggerUrl"], max_size=None)))

        yield another


@contextlib.contextmanager
def open_page(timeout_s: float) -> Iterator[Page]:
    """Start a browser with WebGL and an empty profile, and give its first page."""
    with open_browser(timeout_s, WITH_WEBGL) as another:
        yield another()
