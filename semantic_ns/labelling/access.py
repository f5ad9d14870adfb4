"""Who may talk to the labelling server. Pure code on strings, and the file with the token.

Every request proves that it knows the token: a program by `Authorization: Bearer`, a browser by the cookie that the
address with the token gives it. On top of that, the server answers under its own names alone (DNS rebinding) and to its
own pages alone (cross-site requests), see `semantic_ns.viewer.guard`.
"""

import contextlib
import hmac
import ipaddress
import os
import re
import secrets
from http import HTTPStatus
from pathlib import Path

from semantic_ns.viewer.guard import Headers, Refusal, authority, is_same_origin, machine_names, values

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")
_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)
SESSION_HEADER = "X-Session-Key"
"""Header by which a page says of which session it is. Sessions follow each other at one address, and browsers let the
pages of all of them in once they have the cookie of the last."""
_ADVICE = "open the address that sns-label printed, which carries the token"


class Access:
    """Decides whether a request may reach the session.

    Args:
        token: Secret of this server, as `new_token` makes it.
        bound_host: Host that the server listens on.
        port: Port that the server listens on. Browsers keep cookies by host and not by port, so that it is in the
            cookie's name.
    """

    def __init__(self, token: str, bound_host: str, port: int) -> None:
        self._token = token
        self._cookie = f"sns_label_{port}"
        bound = authority(bound_host)
        self._hosts = {"localhost", *machine_names(), *([bound.host] if bound else [])}

    @property
    def cookie(self) -> str:
        """Value of the header `Set-Cookie` that lets a browser in."""
        return f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"

    def refusal(self, headers: Headers, token: str | None = None) -> Refusal | None:
        """Return how to refuse a request, or None if it may be answered.

        Args:
            headers: Headers of the request.
            token: Token that the address carries; None if there is none in it, or none counts there.
        """
        headers = list(headers)
        hosts, origins = values(headers, "Host"), values(headers, "Origin")
        host = authority(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return Refusal(HTTPStatus.BAD_REQUEST, f"Expected one Host header with a host, found {shown(hosts)}.")
        if not self._is_own(host.host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                f"Expected one of this server's own names, found the host {shown(host.host)}; open the page by the "
                "server's IP address or as localhost.",
            )
        if origins and not (len(origins) == 1 and is_same_origin(origins[0], host)):
            return Refusal(HTTPStatus.FORBIDDEN, f"A page of {shown(origins)} may not talk to this server.")
        if not self._knows_token(headers, token):
            return Refusal(HTTPStatus.UNAUTHORIZED, f"The request does not carry this server's token; {_ADVICE}.")
        return None

    def _is_own(self, host: str) -> bool:
        if host in self._hosts:
            return True
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return True  # an address cannot be given to another machine, as a name can
        return False

    def _knows_token(self, headers: Headers, token: str | None) -> bool:
        given = [] if token is None else [token]
        given += [match[1] for value in values(headers, "Authorization") if (match := _BEARER.fullmatch(value))]
        for value in values(headers, "Cookie"):
            # Not by SimpleCookie, which finds none at all where another server of this host has set an odd one.
            pairs = [pair.strip().partition("=") for pair in value.split(";")]
            given += [content for name, _, content in pairs if name == self._cookie]
        expected = self._token.encode()
        return any(hmac.compare_digest(one.encode("utf8", "replace"), expected) for one in given)


def session_refusal(key: str | None, own: str | None) -> str | None:
    """A sentence to a page of another session than the one that answers, or None if it is of this one.

    Args:
        key: The key of the session that the request names; None if it names none.
        own: The key of the session; None where none is open yet.
    """
    if key is None or (own is not None and hmac.compare_digest(key.encode("utf8", "replace"), own.encode())):
        return None
    if own is None:
        return (
            "Expected the session of this page, found that a surface is still being trained at its address; nothing "
            "was taken yet. If it is of this scene, what waits here is sent when it is done."
        )
    if key.partition("-")[0] == own.partition("-")[0]:  # a session and the photos that it shows
        return (
            "Expected the photos of this page, found that its session was started again with others; nothing was "
            "taken. Reload the page, and what waits here is put on its own photos."
        )
    return (
        "Expected the session of this page, found that another session is open at its address; nothing was taken. "
        "Start sns-label for the scene of this page again, and what waits here is sent."
    )


def new_token() -> str:
    """A secret that nobody guesses, in signs that need no quoting in an address."""
    return secrets.token_urlsafe(24)


def kept_token(file: Path) -> str:
    """The token in a file, or a new one that is written there, readable by its owner alone.

    A server that starts anew has the same token. A page that is open goes on, and sends what it has kept. Where
    nothing can be written, the token is new each time.
    """
    try:
        kept = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if _TOKEN.fullmatch(kept):
        return kept
    token = new_token()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # it may have other rights
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            output.write(token + "\n")
    return token


def shown(text: object) -> str:
    """What a stranger sent, short and in ASCII."""
    if isinstance(text, list):
        text = ", ".join(map(str, text)) or "none"
    return ascii(str(text)[:100])[1:-1]
