"""Imports what opens a trained run, while another process still trains it."""

import threading
from importlib import import_module

MODULES = ("nerfstudio.utils.eval_utils", "semantic_ns.labelling.building", "semantic_ns.labelling.opening")
"""What a run is opened with: five seconds of the processor, of which nobody is to wait for one."""


def import_in_background() -> threading.Thread:
    """Have a thread import them; gives the thread."""
    thread = threading.Thread(target=lambda: [import_module(name) for name in MODULES], daemon=True)
    thread.start()
    return thread
