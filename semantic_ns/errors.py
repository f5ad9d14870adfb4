"""Errors that are shown to the user as one sentence."""


class SceneError(ValueError):
    """The user's scene, label table or option cannot be used.

    The message is one clear sentence: what was expected, what was found, where, and what to do.
    Commands print it alone, without a traceback, and exit with status 1. Signs that cannot be shown, which may come
    with names from damaged files, are written as codes.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))
