"""How what looks alike follows the marks of a session: a thread fits it while others mark and look."""

import threading
import time
from collections.abc import Callable

from semantic_ns.io.console import announce
from semantic_ns.labelling.spreading import Spreader, SpreadLabels

_REST_S = 0.2
"""Before each fit: the action that asks for it is answered first, and of several in a row the last one counts."""


class FollowedAppearance:
    """The part of a session that fits what looks alike; `LabelSession` gives it what spreads, and its lock.

    An action is answered with what was fitted to earlier marks. What was fitted to the marks in force takes its place
    without a new revision, so that labels follow from the actions in force as soon as nothing is fitted any more.
    """

    _lock: threading.RLock
    _spreader: Spreader
    _shown: SpreadLabels | None
    _spread: Callable[[], SpreadLabels]
    _is_closed: bool
    _fitting: threading.Thread | None = None

    def _fit_soon(self) -> None:
        """Let a thread fit what looks alike to the marks in force, unless one does; the session is locked."""
        if self._spreader.wanted is not None and self._fitting is None and not self._is_closed:
            self._fitting = threading.Thread(target=self._fit_appearance, daemon=True)
            self._fitting.start()

    def _fit_appearance(self) -> None:
        try:
            while True:
                time.sleep(_REST_S)
                with self._lock:
                    spreader, wanted = self._spreader, self._spreader.wanted
                    if wanted is None or self._is_closed:
                        self._fitting = None  # before another mark can ask
                        return
                fitted = spreader.fit(wanted)
                with self._lock:
                    spreader.take(fitted)
                    if spreader is self._spreader:
                        self._shown = None
                        self._spread()  # says what is wanted by then
        except BaseException as error:
            self._fitting = None  # the next mark tries again
            if not isinstance(error, MemoryError):
                raise
            announce("labelling", "what looks alike does not fit into memory; labels keep to what it was before")

    def wait_for_appearance(self, timeout_s: float = 600.0) -> bool:
        """Wait until what looks alike is fitted to the marks in force; whether it is."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                self._spread()
                fitting = self._fitting
            if fitting is None:
                return self._spreader.wanted is None
            fitting.join(max(0.0, deadline - time.monotonic()))
            if fitting.is_alive():
                return False
