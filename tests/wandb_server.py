"""A server that answers as much of W&B's protocol as runs need to be sent, and remembers what they are told."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class WandbServer:
    """A running server.

    runs: the number of times that each run was begun, by its id.
    lines: the history that was received of each run.
    """

    url: str
    runs: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _stop: Any = None

    def stop(self) -> None:
        """Answer nothing any more."""
        self._stop()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL request."""
        entity = {"id": "e", "name": "lab"}
        if operation == "Viewer":
            return {"viewer": {"id": "u", "entity": "lab", "username": "lab", "flags": "{}", "teams": {"edges": []}}}
        if operation == "RunResumeStatus":
            return {
                "model": {"id": "p", "name": "p", "entity": entity, "bucket": self._resumed(str(variables["name"]))}
            }
        if operation in (
            "CreateArtifact",
            "CreateArtifactGQL",
        ):  # It is there already, so that its files need not be sent.
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": {"id": "a"}}}
            return {"createArtifact": {"artifact": artifact}}
        if operation == "UpsertBucket":
            id_, project = str(variables["name"]), {"id": "p", "name": variables["project"], "entity": entity}
            self.runs[id_] = self.runs.get(id_, 0) + 1
            bucket = {
                "id": f"b-{id_}",
                "name": id_,
                "config": "{}",
                "project": project,
                "historyLineCount": len(self.lines.get(id_, [])),
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/file"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        return {"project": None}

    def _resumed(self, id_: str) -> dict[str, Any] | None:
        """What a run that is continued has to know of itself."""
        if id_ not in self.runs:
            return None
        lines = self.lines.get(id_, [])
        counts = {"historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(line) for line in lines[-1:]]), "eventsTail": "[]"}
        texts = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": "{}", "displayName": id_, "notes": ""}
        return {"id": f"b-{id_}", "name": id_, "tags": [], **counts, **tails, **texts}

    def stream(self, path: str, body: dict[str, Any]) -> None:
        """Remember the history lines of ``/files/<entity>/<project>/<run>/file_stream``."""
        sent = (body.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            # What begins at an earlier line takes the place of what was there.
            lines = self.lines.setdefault(path.split("/")[-2], [])
            lines[sent["offset"] :] = map(json.loads, sent["content"])


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing about connections that the other side has ended."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Serve W&B on this machine during a ``with`` block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            self._send({})

        def do_PUT(self) -> None:
            self._body()
            self._send({})

        def do_POST(self) -> None:
            body = json.loads(self._body() or b"{}")
            if self.path != "/graphql":
                server.stream(self.path, body)
                self._send({})
                return
            name = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
            self._send({"data": server.answer(name.group(1) if name else "", body.get("variables") or {})})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, answer: object) -> None:
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with _Quiet(("127.0.0.1", 0), Handler) as http:

        def stop() -> None:
            http.shutdown()
            http.socket.close()

        server = WandbServer(f"http://127.0.0.1:{http.server_port}", _stop=stop)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield server
        http.shutdown()
