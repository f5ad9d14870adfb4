"""Errors that are shown to the user as one sentence."""


class SceneError(ValueError):
    """The user's scene, label table or option cannot be used.

    The message is one clear sentence: what was expected, what was found, where, and what to do.
    Commands print it alone, without a traceback, and exit with status 1.
    """
