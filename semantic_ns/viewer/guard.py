"""Which requests the viewer's server answers. Pure code on strings and paths.

viser 0.2.7, which nerfstudio 1.1.5 pins, hands out any file that the process may read (`GET /../../etc/hostname`) and
accepts a WebSocket from any web page. `semantic_ns.host.guard_viewer` asks a `ViewerGuard` before viser is asked.

Three rules:

* A request for a file names a file inside the folder that is served (CWE-22, path traversal).
* A WebSocket that a web page opens comes from a page of this very server (RFC 6455, section 10.2): browsers let any
  page connect to any server, and leave the decision to the server.
* The name under which the server is asked is one of its own. Otherwise a page of `evil.example` could give that name
  this machine's address after it has been loaded, and would then be a page of this very server (DNS rebinding). IP
  addresses cannot be given away like this, so all of them are accepted.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

HOSTS_VARIABLE = "SEMANTIC_NS_VIEWER_HOSTS"
"""Environment variable with further names of the viewer, separated by commas, for reverse proxies."""
SHARE_DOMAIN = "share.viser.studio"
"""viser's relay for `--viewer.make-share-url` (viser/_tunnel.py); each shared viewer is a name below it."""

_AUTHORITY = re.compile(r"(\[[^\[\]@/?#\s]+\]|[^\[\]:@/?#\s]+)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/]+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}

Headers = Iterable[tuple[str, str]]
"""Names and values of the headers of a request in their order; names in any case, and repeated where sent twice."""


class Refusal(NamedTuple):
    """The answer to a request that is not passed on."""

    status: HTTPStatus
    sentence: str
    """What was wrong, for the body of the answer."""


class Authority(NamedTuple):
    """A host and a port as a URL names them."""

    host: str
    """In lower case; an IP address in its canonical form and without brackets."""
    port: int | None
    """None where the URL leaves it to its scheme."""


class ViewerGuard:
    """Decides whether a request may reach the viewer's server.

    Args:
        folder: Folder whose files are served; None if there is none.
        bound_host: Host that the server listens on, as given to it; None for all interfaces.
        further_hosts: Value of the environment variable `SEMANTIC_NS_VIEWER_HOSTS`. Entries that name no host are
            ignored.
    """

    def __init__(self, folder: Path | None, bound_host: str | None, further_hosts: str = "") -> None:
        self._folder = folder
        given = [bound_host or "", *(name.strip() for name in further_hosts.split(","))]
        self._hosts = {"localhost", *machine_names(), *(known.host for name in given if (known := authority(name)))}

    def refusal(self, path: str, headers: Headers) -> Refusal | None:
        """Return how to refuse a request, or None if it may be passed on.

        Args:
            path: Target of the request, as it came in the request line.
            headers: Headers of the request.
        """
        headers = list(headers)
        hosts, origins = values(headers, "Host"), values(headers, "Origin")
        host = authority(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            # RFC 9112, section 3.2; a server that reads the first and a proxy that reads the last could be told apart.
            return Refusal(HTTPStatus.BAD_REQUEST, f"Expected one Host header with a host, found {_shown(hosts)}.")
        if not self._is_own(host.host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                f"The viewer was asked under the name {_shown(host.host)}, which is not known to be its own: open it "
                f"by its IP address or as localhost, or start it with {HOSTS_VARIABLE}={_shown(host.host)}.",
            )
        if is_websocket(headers):
            # Who sends no Origin is a program: browsers always do (RFC 6455, section 4.1). A program can write what it
            # likes there, so that refusing it would protect nothing, and end scripts that talk to the viewer.
            if origins and not (len(origins) == 1 and is_same_origin(origins[0], host)):
                return Refusal(
                    HTTPStatus.FORBIDDEN,
                    f"A page of {_shown(origins)} may not control the viewer at {_shown(hosts[0])}; behind a reverse "
                    "proxy, have it pass on the Host header.",
                )
        elif self._folder is not None and served_file(path, self._folder) is None:
            return Refusal(HTTPStatus.NOT_FOUND, "The viewer has no such file.")
        return None

    def _is_own(self, host: str) -> bool:
        return (
            _ip_address(host) is not None
            or host in self._hosts
            or host == SHARE_DOMAIN
            or host.endswith(f".{SHARE_DOMAIN}")
        )


def served_file(path: str, folder: Path) -> Path | None:
    """Return the regular file inside `folder` that the path of a URL names, or None if there is none.

    As in viser, the path is taken literally (`%2e` is no dot), a query is cut off, and `/` means `index.html`. A path
    with `..` is refused even where it leads back inside: browsers resolve it before they ask, and viser keeps a copy of
    a file for each way to write its name.
    """
    path = path.partition("?")[0]
    if not path.startswith("/") or ".." in re.split(r"[/\\]", path):
        return None
    try:
        relative = Path(path).relative_to("/")  # raises for //host/share, which is no path below /
        file = (folder / relative if relative.parts else folder / "index.html").resolve(strict=True)
        return file if file.is_file() and file.is_relative_to(folder.resolve()) else None
    except (OSError, ValueError, RuntimeError):  # missing or too long; a NUL byte; links in a circle
        return None


def is_websocket(headers: Headers) -> bool:
    """Whether a request may become a WebSocket.

    Anything that names it in an Upgrade header counts: viser compares with case and its WebSocket library does not, and
    what either of the two takes for one must be seen as one here.
    """
    return any("websocket" in value.lower() for value in values(headers, "Upgrade"))


def is_same_origin(origin: str, host: Authority) -> bool:
    """Whether a page of `origin` (RFC 6454) was served under `host`; `null`, files and extensions never were.

    The scheme of the server is not known behind a proxy, so that a port that is left out is that of the page's scheme.
    """
    match = _ORIGIN.fullmatch(origin)
    page = authority(match[2]) if match else None
    if match is None or page is None:
        return False
    default = _DEFAULT_PORTS[match[1].lower()]
    ports = [default if port is None else port for port in (page.port, host.port)]
    return page.host == host.host and ports[0] == ports[1]


def is_loopback(host: str | None) -> bool:
    """Whether a server that listens on `host` can be reached from this machine alone; None and "" mean everywhere."""
    known = authority(host or "")
    if known is None:
        return False
    address = _ip_address(known.host)
    return known.host == "localhost" if address is None else address.is_loopback


def authority(text: str) -> Authority | None:
    """Parse `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, and an IPv6 address alone; None for anything else."""
    address = _ip_address(text)
    if address is not None:
        return Authority(str(address), None)
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host, port = match[1], int(match[2]) if match[2] else None
    if host.startswith("["):
        address = _ip_address(host[1:-1])
        return Authority(str(address), port) if isinstance(address, ipaddress.IPv6Address) else None
    address = _ip_address(host)
    name = str(address) if address else host.lower().removesuffix(".")  # a name may end with the dot of the root
    return Authority(name, port) if name else None


def machine_names() -> tuple[str, ...]:
    """Names of this machine that are known without asking the network: its own, its first part, and that in mDNS."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return (name, short, f"{short}.local") if short else ()


def values(headers: Headers, name: str) -> list[str]:
    """Return the values of all headers of a name, in any case."""
    return [value for key, value in headers if key.lower() == name.lower()]


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _shown(text: str | list[str]) -> str:
    """What a stranger sent, short and in ASCII."""
    text = text if isinstance(text, str) else ", ".join(text) or "none"
    return ascii(text[:100])[1:-1]
