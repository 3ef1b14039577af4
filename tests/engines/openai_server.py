"""A server with OpenAI's interface inside the test process, which fails on order."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

MODEL = "served"


class Reply(NamedTuple):
    """The answer of a model."""

    text: str
    ids: list[int] | None = None
    finish: str = "stop"


@dataclass
class Trouble:
    """The fault of one request."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    reset: bool = False
    cut: bool = False
    model: str | None = None


def echo(fields: dict[str, Any]) -> Reply:
    """A text from the prompt alone."""
    if "messages" in fields:
        return Reply(fields["messages"][0]["content"])
    return Reply(" ".join(map(str, fields["prompt"])))


class Server(ThreadingHTTPServer):
    """The server. `trouble` is asked before each answer."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, model: Callable[[dict[str, Any]], Reply] = echo, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.model, self.name = model, MODEL
        self.trouble: Callable[[dict[str, Any], int], Trouble | None] = lambda fields, number: None
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_in_flight = self.in_flight = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: clients may go."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets, and the second would wait for 40 ms
    server: Server

    def do_POST(self) -> None:
        server, fields = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            number = len(server.asked)
            server.asked.append(fields | {"path": self.path})
            server.headers.append(dict(self.headers))
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            self._answer(fields, server.trouble(fields, number) or Trouble())
        finally:
            with server.lock:
                server.in_flight -= 1

    def _answer(self, fields: dict[str, Any], trouble: Trouble) -> None:
        time.sleep(trouble.wait_s)
        if trouble.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        body = trouble.body if trouble.status != 200 or trouble.body is not None else self._content(fields, trouble)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(trouble.status)
        for name, value in trouble.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if trouble.cut else content)
        self.close_connection |= trouble.cut

    def _content(self, fields: dict[str, Any], trouble: Trouble) -> dict[str, Any]:
        reply = self.server.model(fields)
        chat = "messages" in fields
        said = {"message": {"role": "assistant", "content": reply.text}} if chat else {"text": reply.text}
        choice = {"index": 0, **said, "finish_reason": reply.finish, "token_ids": reply.ids}
        prompt = fields["messages"][0]["content"] if chat else fields["prompt"]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(reply.ids or [1])}
        return {"model": trouble.model or self.server.name, "choices": [choice], "usage": usage}

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def served(model: Callable[[dict[str, Any]], Reply] = echo, port: int = 0) -> Iterator[Server]:
    """A server for as long as the body runs."""
    server = Server(model, port)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
