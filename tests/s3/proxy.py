"""A proxy between a client and an S3 server that fails where it is told to, as networks and S3 do."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

DROP = "drop"
"""Ends the connection before the server hears of the request."""
DROP_ANSWER = "drop answer"
"""Ends it once the server has carried the request out."""
CUT = "cut"
"""Ends it in the middle of the answer's body."""


@dataclass(frozen=True)
class Refusal:
    """An answer of the proxy's own."""

    status: int
    code: str


SLOW_DOWN, INTERNAL = Refusal(503, "SlowDown"), Refusal(500, "InternalError")


@dataclass(frozen=True)
class Request:
    """One request that came by."""

    number: int
    method: str
    target: str


Fault = str | Refusal | None


class FaultProxy:
    """Forwards to a port of this machine; a context manager."""

    def __init__(self, upstream: int) -> None:
        """Args: upstream: port of the server."""
        self.decide: Callable[[Request], Fault] = lambda request: None
        """What goes wrong with a request."""
        self.seen: list[Request] = []
        """All that came by."""
        self.faults = 0
        """How many of them failed."""
        self.ignored: frozenset[str] = frozenset()
        """Headers, in small letters, that the server does not get to see."""
        self.page_keys: int | None = None
        """Most keys of a page of a listing; None: as many as the server gives."""
        self.bytes_answered = 0
        """Bytes of all answers' bodies."""
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two packets, and the second would wait for 40 ms

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def handle_any(self) -> None:
                proxy._handle(self, upstream)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> "FaultProxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, client: BaseHTTPRequestHandler, upstream: int) -> None:
        content = client.rfile.read(int(client.headers.get("Content-Length") or 0))
        with self._lock:
            request = Request(len(self.seen), client.command, client.path)
            self.seen.append(request)
            fault = self.decide(request)
            self.faults += fault is not None
        if fault == DROP:
            client.close_connection = True
            return
        if isinstance(fault, Refusal):
            body = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
            self._answer(client, fault.status, {"Content-Type": "application/xml"}, body, len(body))
            return
        server = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
        kept_back = {"connection", "expect", *self.ignored}
        headers = {name: value for name, value in client.headers.items() if name.lower() not in kept_back}
        page = f"&max-keys={self.page_keys}" if self.page_keys and "list-type" in client.path else ""
        server.request(client.command, client.path + page, content or None, headers)
        answer = server.getresponse()
        body, answered = answer.read(), dict(answer.getheaders())
        server.close()
        if fault == DROP_ANSWER:
            client.close_connection = True
            return
        size = int(answered.get("Content-Length", len(body))) if client.command == "HEAD" else len(body)
        if fault == CUT and len(body) > 1:
            client.close_connection = True
            body = body[: len(body) // 2]
        self._answer(client, answer.status, answered, body, size)

    def _answer(
        self, client: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, size_bytes: int
    ) -> None:
        client.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                client.send_header(name, value)
        client.send_header("Content-Length", str(size_bytes))
        client.end_headers()
        if client.command != "HEAD":
            client.wfile.write(body)
            with self._lock:
                self.bytes_answered += len(body)
