"""The labelling server: sockets and headers around `LabelApi`, by Python's standard library alone."""

import contextlib
import gzip
import re
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from semantic_ns.errors import SceneError
from semantic_ns.labelling.access import SESSION_HEADER, Access, shown
from semantic_ns.labelling.answers import Answer, error_answer
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.requests import MAX_BODY_BYTES
from semantic_ns.labelling.waiting import WaitingApi

PAGE = "index.html"
_PACKAGE = "semantic_ns.labelling"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # The page loads nothing from elsewhere, runs no script but its own, and is shown in no frame of another page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_IDLE_S = 60.0
"""Time after which a connection on which nothing comes is closed."""
_DRAIN_S = 2.0
_MOST_DRAINED_BYTES = 16 * MAX_BODY_BYTES
_MAX_CONNECTIONS = 256
_LENGTH = re.compile("[0-9]{1,15}")
_LEAST_COMPRESSED = 2000
"""Bytes below which an answer is sent as it is."""


class LabelServer:
    """Serves a session and the page until it is closed.

    Args:
        api: What answers.
        token: Secret that each request carries.
        host: Host to listen on.
        port: Port to listen on; 0 for any free one.
        page: Name of the page.

    Raises:
        SceneError: the port is taken, or the host is not one of this machine.
    """

    def __init__(
        self, api: LabelApi | WaitingApi, token: str, host: str = "127.0.0.1", port: int = 7008, page: str = PAGE
    ) -> None:
        self._api = api
        self._thread: threading.Thread | None = None
        self._token = token
        self._host = host
        self._server = _listening(host, port)
        self._server.access = Access(token, host, self.port)
        self._server.api = api
        self._server.files = page_files(page)

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return self._server.server_address[1]

    @property
    def address(self) -> str:
        """Address that opens the page, with the token."""
        host = "127.0.0.1" if self._host in ("", "0.0.0.0") else "::1" if self._host == "::" else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self._token}"

    @property
    def far_address(self) -> str | None:
        """Address that opens the page from other machines, where the server listens on all addresses of this one."""
        if self._host not in ("", "0.0.0.0", "::"):
            return None
        return f"http://{_own_address()}:{self.port}/?token={self._token}"

    def serve(self) -> None:
        """Answer requests until `close` is called by another thread."""
        if self._thread is None:
            self._server.serve_forever(poll_interval=0.1)
        else:
            while self._thread.is_alive():
                self._thread.join(1.0)  # without a limit Ctrl+C does not end it everywhere

    def serve_in_background(self) -> None:
        """Have a thread answer requests, until `close` or `release` is called."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def hand_over(self, api: LabelApi | WaitingApi, page: str = PAGE) -> None:
        """Let something else answer from now on, with another page; what waits is told that it has ended."""
        before, self._api = self._api, api
        self._server.api, self._server.files = api, page_files(page)
        before.close()

    def close(self) -> None:
        """Stop answering, and cut all connections. Another thread must be in `serve`."""
        self._api.close()
        self._server.shutdown()
        self.release()

    def release(self) -> None:
        """Free the port and cut all connections, where no thread is in `serve`."""
        self._api.close()
        if self._thread is not None:
            self._server.shutdown()
        self._server.server_close()
        self._server.cut_connections()


def refuse_taken_port(host: str, port: int) -> None:
    """Check that a server can listen, before anything slow is done.

    Raises:
        SceneError: the port is taken, or the host is not one of this machine.
    """
    _listening(host, port).server_close()


def _own_address() -> str:
    """The address of this machine in its network, or its name where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # kept for documentation; nothing is sent, but the way there is looked up
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _listening(host: str, port: int) -> "_Server":
    try:
        return _Server(host, port)
    except (OSError, OverflowError) as error:
        raise SceneError(
            f"Expected a free port for the page, found that {host}:{port} cannot be used "
            f"({getattr(error, 'strerror', None) or error}); end what listens there or choose another --port."
        ) from error


def page_files(page: str = PAGE) -> dict[str, Answer]:
    """The files of a page by their paths in addresses. Nothing else is ever read for a request."""
    found = {}
    for file in resources.files(_PACKAGE).joinpath("page").iterdir():
        kind = _KINDS.get(Path(file.name).suffix)
        if kind is not None:
            found[f"/{file.name}"] = Answer(file.read_bytes(), kind, headers={"Cache-Control": "no-cache"})
    found["/"] = found[f"/{page}"]
    return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True  # after a restart; a port on which another process listens is refused all the same
    access: Access
    api: LabelApi | WaitingApi
    files: Mapping[str, Answer]

    def __init__(self, host: str, port: int) -> None:
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # That of HTTPServer asks the network for the name of the host, which takes seconds where there is none.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            if len(self._connections) >= _MAX_CONNECTIONS:
                self.shutdown_request(request)
                return
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._connections.discard(request)

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break; other errors are faults and keep their traceback."""
        import sys

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sns-label"
    sys_version = ""
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together

    @property
    def _app(self) -> _Server:
        return cast(_Server, self.server)

    def do_GET(self) -> None:
        if self._body_length() != 0:
            self._refuse("Expected a request without a body.", HTTPStatus.BAD_REQUEST)
            return
        self._send(self._got())

    def do_POST(self) -> None:
        refusal = self._app.access.refusal(self.headers.items())
        if refusal is not None:
            self._refuse(refusal.sentence, refusal.status)
            return
        length = self._body_length()
        if length is None:
            self._refuse("Expected the length of the body as Content-Length.", HTTPStatus.LENGTH_REQUIRED)
        elif length > MAX_BODY_BYTES:
            sentence = f"Expected a body of at most {MAX_BODY_BYTES} bytes, found more."
            self._refuse(sentence, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self.headers.get_content_type() != "application/json":
            self._refuse("Expected a body of the type application/json.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        else:
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True  # the rest never came
                return
            path, _ = self._address()
            self._send(self._app.api.post(path, body, self.headers.get(SESSION_HEADER)))

    def _got(self) -> Answer:
        path, query = self._address()
        # In the address it counts for the page alone, so that nothing else is worth being kept in a history.
        token = query.get("token") if path == "/" else None
        refusal = self._app.access.refusal(self.headers.items(), token)
        if refusal is not None:
            if path == "/":
                return Answer(f"{refusal.sentence}\n".encode(), "text/plain; charset=utf-8", refusal.status)
            return error_answer(refusal.sentence, refusal.status)
        if path in self._app.files:
            file = self._app.files[path]
            entrance = {"Set-Cookie": self._app.access.cookie} if token is not None else {}
            return Answer(file.body, file.kind, headers={**file.headers, **entrance})
        return self._app.api.get(path, query, self.headers.get(SESSION_HEADER))

    def _address(self) -> tuple[str, dict[str, str]]:
        try:
            parts = urlsplit(self.path)
            return parts.path, dict(parse_qsl(parts.query, max_num_fields=20))
        except ValueError:
            return "", {}

    def _body_length(self) -> int | None:
        """Length of the body; 0 where there is none, None where it is not known."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") is not None:
            return None
        if not lengths:
            return 0 if self.command == "GET" else None
        return int(lengths[0]) if len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) else None

    def _refuse(self, sentence: str, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(error_answer(sentence, status))
        self.wfile.flush()
        self._drain()

    def _drain(self) -> None:
        """Take in what still comes of a refused body: a client that is cut off while it sends sees no answer."""
        left = min(self._body_length() or 0, _MOST_DRAINED_BYTES)
        with contextlib.suppress(OSError):
            self.connection.settimeout(_DRAIN_S)
            while left > 0 and (part := self.rfile.read(min(left, 65536))):
                left -= len(part)

    def _send(self, answer: Answer) -> None:
        body, headers = answer.body, {"Cache-Control": "no-store", **answer.headers}
        if self._may_compress(answer):
            body = gzip.compress(body, 1)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        self.send_response(answer.status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _may_compress(self, answer: Answer) -> bool:
        accepted = self.headers.get("Accept-Encoding", "")
        is_image = answer.kind.startswith("image/jpeg")
        return "gzip" in accepted and len(answer.body) >= _LEAST_COMPRESSED and not is_image

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what `BaseHTTPRequestHandler` itself refuses (a bad request line, an unknown method) in our form."""
        status = HTTPStatus(code)
        if status >= 500:  # methods and versions that are not known: the request is wrong, not the server
            status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus.BAD_REQUEST
        self.close_connection = True
        if not hasattr(self, "headers"):
            self.headers = self.MessageClass()
        if not self.request_version.startswith("HTTP/1"):
            self.request_version = self.protocol_version
        self._send(error_answer(f"The request cannot be read: {shown(message or status.phrase)}.", status))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of single requests: the address with the token would be among them."""
