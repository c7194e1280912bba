"""An S3 server on the loopback interface, for tests: objects in memory, whole or not at all, bytes counted.

What pyarrow's client (the AWS SDK) speaks: buckets, multipart and single uploads, ranges, listings. A process of its
own, so that a client that holds this one's interpreter lock is still answered. `GET /` gives the counts.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "loopback", "s3cr3t-of-the-test"
REFUSED = b"refuse this"
OBJECTS: dict[str, dict[str, bytes]] = {}
UPLOADS: dict[str, dict[int, bytes]] = {}
SERVED = {"bytes": 0, "reads": 0}
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One connection of a client; see the S3 API reference for what each answer holds."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(200, json.dumps({**SERVED, "uploads": len(UPLOADS)}).encode())
        elif self.understood():
            self.list() if not self.key else self.read()

    def do_HEAD(self) -> None:
        if self.understood():
            found = True if not self.key else self.key in OBJECTS[self.bucket]
            size = len(OBJECTS[self.bucket].get(self.key, b""))
            self.answer(200 if found else 404, b"", {"Content-Length": str(size)})

    def do_PUT(self) -> None:
        body = self.body()
        if self.understood(make=True):
            if "uploadId" in self.query:
                UPLOADS[self.query["uploadId"]][int(self.query["partNumber"])] = body
            elif self.key:
                OBJECTS[self.bucket][self.key] = body
            self.answer(200, b"", {"ETag": etag(body)})

    def do_POST(self) -> None:
        body = self.body()
        if not self.understood():
            return
        if "uploads" in self.query:
            upload = uuid.uuid4().hex
            UPLOADS[upload] = {}
            self.xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        elif "uploadId" in self.query:
            parts = UPLOADS.pop(self.query["uploadId"])
            data = b"".join(parts[number] for number in sorted(parts))
            if data.startswith(REFUSED):
                self.fail(403, "AccessDenied", "An upload that begins like this one is refused")
                return
            OBJECTS[self.bucket][self.key] = data
            self.xml('<CompleteMultipartUploadResult><ETag>"0"</ETag></CompleteMultipartUploadResult>')
        else:
            for key in re.findall(rb"<Key>(.*?)</Key>", body):
                OBJECTS[self.bucket].pop(key.decode(), None)
            self.xml("<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        if self.understood():
            if "uploadId" in self.query:
                UPLOADS.pop(self.query["uploadId"], None)
            else:
                OBJECTS[self.bucket].pop(self.key, None)
            self.answer(204)

    def understood(self, make: bool = False) -> bool:
        """Splits the path; answers itself where the key is not known or the bucket is not there."""
        parts = urlsplit(self.path)
        self.bucket, _, self.key = unquote(parts.path).lstrip("/").partition("/")
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self.fail(403, "InvalidAccessKeyId", "The access key is not known here")
        elif make and not self.key:
            OBJECTS.setdefault(self.bucket, {})
            return True
        elif self.bucket not in OBJECTS:
            self.fail(404, "NoSuchBucket", "The specified bucket does not exist")
        else:
            return True
        return False

    def list(self) -> None:
        prefix, end = self.query.get("prefix", ""), self.query.get("delimiter", "")
        keys = sorted(key for key in OBJECTS[self.bucket] if key.startswith(prefix))
        folders = {prefix + k[len(prefix) :].split("/")[0] + "/" for k in keys if end and "/" in k[len(prefix) :]}
        if end:
            keys = [key for key in keys if "/" not in key[len(prefix) :]]
        sizes = {key: len(OBJECTS[self.bucket][key]) for key in keys}
        contents = [f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>" for key, size in sizes.items()]
        common = [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders)]
        head = f"<IsTruncated>false</IsTruncated><KeyCount>{len(keys) + len(folders)}</KeyCount>"
        self.xml(f"<ListBucketResult>{head}{''.join(contents)}{''.join(common)}</ListBucketResult>")

    def read(self) -> None:
        data = OBJECTS[self.bucket].get(self.key)
        if data is None:
            self.fail(404, "NoSuchKey", "The specified key does not exist")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(wanted[1]), int(wanted[2] or len(data) - 1)) if wanted else (0, len(data) - 1)
        piece = data[first : last + 1]
        with LOCK:
            SERVED["bytes"] += len(piece)
            SERVED["reads"] += 1
        more = {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(data)}"} if wanted else {}
        self.answer(206 if wanted else 200, piece, more)

    def body(self) -> bytes:
        """What was sent. The SDK streams uploads in its own chunks, with a checksum at the end, inside HTTP's."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b"".join(chunks(self.rfile))
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunked = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return b"".join(chunks(io.BytesIO(data))) if chunked else data

    def xml(self, text: str) -> None:
        self.answer(200, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode(), {"Content-Type": "text/xml"})

    def fail(self, status: int, code: str, message: str) -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        self.answer(status, b"" if self.command == "HEAD" else body)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT",
            "ETag": etag(body),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read the counts."""


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The chunks up to the empty one that ends them. Raises ValueError where the client went away before it."""
    while size := int(stream.readline().split(b";")[0], 16):
        yield stream.read(size)
        stream.readline()


class Server(ThreadingHTTPServer):
    """A thread a connection; one that breaks off is a client that was killed."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing to say."""


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
