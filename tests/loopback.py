"""A file server on loopback with Range support, and every fault a real one shows."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is served, how it misbehaves, and which requests came."""

    content: bytes
    etag: str | None = '"one"'
    statuses: list[int] = field(default_factory=list)
    """Answers to give first, one a request."""
    cuts: list[int] = field(default_factory=list)
    """Bytes of the body after which to cut the connection, one a request; 0 cuts before the headers."""
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    go: threading.Event = field(default_factory=threading.Event)
    """Cleared, it holds every answer back."""
    gets: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(content: bytes, name: str = "file.bin") -> Iterator[Served]:
    served = Served(content)
    served.go.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.gets.append(dict(self.headers))
            served.go.wait()
            # A client that has enough, or is stopped, closes first.
            with suppress(ConnectionError):
                _answer(self, served)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/{name}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answer(request: BaseHTTPRequestHandler, served: Served) -> None:
    cut = served.cuts.pop(0) if served.cuts else None
    if cut == 0:
        request.connection.shutdown(socket.SHUT_RDWR)
        return
    if served.statuses:
        request.send_response(served.statuses.pop(0))
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    start = _start(request, served)
    if start is not None and start >= len(served.content):
        request.send_response(416)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    body = served.content[start or 0 :]
    request.send_response(200 if start is None else 206)
    if start is not None:
        request.send_header("Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
    if served.etag:
        request.send_header("ETag", served.etag)
    for key, value in {"Content-Length": str(len(body)), **served.headers}.items():
        request.send_header(key, value)
    request.end_headers()
    request.wfile.write(body[:cut])
    if cut is not None:
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)


def _start(request: BaseHTTPRequestHandler, served: Served) -> int | None:
    wanted, condition = request.headers.get("Range"), request.headers.get("If-Range")
    if not served.ranges or not wanted or (condition and condition != served.etag):
        return None
    return int(wanted.removeprefix("bytes=").removesuffix("-"))


@dataclass
class Hub:
    """A Hugging Face hub of files "owner/repository/file": what it holds, what it was asked, how it misbehaves."""

    files: dict[str, bytes]
    commit: str = "0123abc"
    large: tuple[str, ...] = (".safetensors", ".bin")
    """Files that it names by their SHA-256, and serves from another address."""
    wrong: bool = False
    """Send another content than the one it names."""
    gated: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Authorization of each request."""
    url: str = ""


@contextmanager
def serving_hub(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Authorization")))
            name = re.sub(r"/resolve/(main|[0-9a-f]+)/", "/", self.path.removeprefix("/cdn").lstrip("/"))
            found = re.search(r"/resolve/([0-9a-f]{6,})/", self.path)
            commit = found[1] if found else hub.commit
            content = hub.files.get(name)
            large = name.endswith(hub.large)
            if hub.gated and self.headers.get("Authorization") is None and not self.path.startswith("/cdn"):
                self.send_response(401)
                self.send_header("Content-Length", "0")
                content = b""
            elif content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                content = b""
            elif large and not self.path.startswith("/cdn"):
                self.send_response(302)
                self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}")
                self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", commit)
                self.send_header("Content-Length", "0")
                content = b""
            else:
                content = content[:-1] + b"?" if hub.wrong else content
                self.send_response(200)
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", '"git"')
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body and content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    with _running(server):
        yield hub


@contextmanager
def serving_redirects(location: str) -> Iterator[tuple[str, list[str]]]:
    """A server that answers every HEAD with the same Location; yields its address and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", location.format(port=server.server_port))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with _running(server):
        yield f"http://127.0.0.1:{server.server_port}/first", asked


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
