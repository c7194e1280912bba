"""A dashboard of Ray on loopback, as far as its interface to jobs goes, and every fault of a real one."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

TOKEN = "fake-dashboard-token-0123456789"


@dataclass
class FakeDashboard:
    """What it knows, and what it was sent."""

    url: str = ""
    ray_version: str = field(default_factory=lambda: version("ray"))
    token: str | None = TOKEN
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """Ids that are taken, but not listed yet: of somebody who submits at the same instant."""
    logs: dict[str, str] = field(default_factory=dict)
    """The output of jobs by their ids; of a job without one it cannot be read."""
    packages: dict[str, bytes] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    answers_jobs: bool = True
    """False: of a head that is dead behind a dashboard that lives."""

    def add(self, id_: str, status: str, **details: Any) -> None:
        self.jobs[id_] = {"type": "SUBMISSION", "submission_id": id_, "status": status, "entrypoint": "", **details}


@contextmanager
def serving_dashboard(**settings: Any) -> Iterator[FakeDashboard]:
    fake = FakeDashboard(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = self._status(body)
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _status(self, body: bytes) -> tuple[int, Any]:
            given = self.headers.get("Authorization")
            if fake.token is not None and given != f"Bearer {fake.token}":
                return (403, "Forbidden") if given else (401, "Unauthorized")
            if self.path == "/api/version":
                return 200, {"version": "4", "ray_version": fake.ray_version, "ray_commit": "", "session_name": ""}
            if self.path.startswith("/api/packages/gcs/"):
                return self._package(self.path.rpartition("/")[2], body)
            if not fake.answers_jobs:
                time.sleep(30)
            if self.path == "/api/jobs/" and self.command == "POST":
                return self._submit(json.loads(body))
            if self.path == "/api/jobs/":
                return 200, list(fake.jobs.values())
            id_ = re.sub(r"^/api/jobs/|/.*", "", self.path.removeprefix("/api/jobs/"))
            if id_ not in fake.jobs:
                return 404, f"Job {id_} does not exist"
            if self.path.endswith("/stop"):
                fake.jobs[id_]["status"] = "STOPPED"
                return 200, {"stopped": True}
            if self.path.endswith("/logs"):
                return (200, {"logs": fake.logs[id_]}) if id_ in fake.logs else (500, "no log file")
            return 200, fake.jobs[id_]

        def _package(self, name: str, body: bytes) -> tuple[int, Any]:
            if self.command == "PUT":
                fake.packages[name] = body
            return (200, "") if name in fake.packages else (404, "")

        def _submit(self, request: dict[str, Any]) -> tuple[int, Any]:
            id_ = request["submission_id"]
            if id_ in fake.hidden:
                fake.hidden.discard(id_)
                fake.add(id_, "RUNNING", metadata=request["metadata"])
                return (
                    500,
                    f"Traceback …\nValueError: Job with submission_id {id_} already exists. Please use a different",
                )
            fake.submitted.append(request)
            fake.add(id_, "RUNNING", metadata=request["metadata"])
            return 200, {"job_id": id_, "submission_id": id_}

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
