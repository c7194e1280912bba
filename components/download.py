"""Download one file from one URL: resumed after a break, verified, and only once however many processes ask for it.

During a download three files lie next to the target: `<target>.part` (the bytes received), `<target>.part.json`
(the file version that they belong to) and `<target>.lock`. The target appears complete and verified, or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from filelock import FileLock, Timeout

from goodshot.components.errors import BadInput, GoodshotError

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes received and the total number (None where the server does not say)."""

CHUNK = 1 << 18
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt; an attempt that received data starts the sequence again."""

_CONNECT_AND_READ_SECONDS = (20, 60)
_OURS = {"Accept-Encoding": "identity", "User-Agent": "goodshot"}
_ENOUGH_DIGITS = 8  # this many hex digits of a SHA-256 distinguish a complete file from an incomplete one
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class Unavailable(GoodshotError):
    """The server cannot be reached, or does not give the file."""


class _Interrupted(Exception):
    """This attempt failed, but the next one may succeed."""


@dataclass(frozen=True)
class _Version:
    """The version of the file that a partial download belongs to."""

    sha256: str
    validator: str | None
    total: int | None


def download(
    url: str,
    target: Path,
    sha256: str,
    size: int | None = None,
    on_progress: Progress = lambda done, total: None,
    headers: Mapping[str, str] = MappingProxyType({}),
    work: Path | None = None,
) -> None:
    """Downloads the file of that SHA-256 (and size, if known) to `target`, unless `target` is that file already.

    The proxies of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are used.

    Args:
        sha256: 64 hex digits, or their beginning (torch's hub publishes eight), or empty if none is published: then the
        length that the server announces is checked, and any existing file at `target` is accepted.
        headers: further headers of the request; an Authorization is sent to the address's own host only.
        work: the folder for partial files, on the same file system; by default the folder of `target`.

    Raises:
        Unavailable: the server cannot be reached, or does not give the file; the bytes received are kept.
        BadInput: `target` cannot be written.
        GoodshotError: the device is full (the bytes received are kept), or the file is not the expected one.
    """
    if _is_downloaded(target, sha256):  # before any locking, so that a read-only cache works
        return
    work_folder = work or target.parent
    with locked(work_folder / f"{target.name}.lock"):
        if _is_downloaded(target, sha256):
            return
        part = work_folder / f"{target.name}.part"
        with writing(part):
            _fill(_Wanted(url, sha256, size, headers), part, on_progress)
            found = file_digest(part)
            if not found.startswith(sha256):
                _discard(part)
                raise GoodshotError(
                    f"{url}: SHA-256 expected {sha256}, got {found}; the damaged file is deleted, "
                    "run the command again, and if that repeats, the publisher has changed the file"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
            _version_file(part).unlink(missing_ok=True)


@dataclass(frozen=True)
class Answer:
    """A server's answer about an address: status and headers (names in any case)."""

    status: int
    headers: Mapping[str, str]


def head(url: str, headers: Mapping[str, str] = MappingProxyType({}), redirects: int = 5) -> Answer:
    """Requests a file's headers; a redirect to another host is returned, not followed.

    Raises:
        Unavailable: the server cannot be reached, fails repeatedly, or leads in circles.
    """
    import requests

    with requests.Session() as session:
        for wait in (*WAITS, None):
            try:
                with (
                    _connected(url),
                    session.head(
                        url, headers={**_OURS, **headers}, allow_redirects=False, timeout=_CONNECT_AND_READ_SECONDS
                    ) as response,
                ):
                    moved = urljoin(url, response.headers.get("Location", url))
                    if response.is_redirect and urlsplit(moved)[:2] == urlsplit(url)[:2]:
                        if not redirects:
                            raise Unavailable(f"{url}: the server redirects in a circle; the link may have moved")
                        return head(moved, headers, redirects - 1)
                    _check_passing(response)
                    return Answer(response.status_code, response.headers)
            except _Interrupted as problem:
                if wait is None:
                    raise Unavailable(f"{url}: {problem}; try again later") from problem
                time.sleep(wait)
    raise AssertionError  # pragma: no cover - the last wait is None


def _is_downloaded(target: Path, sha256: str) -> bool:
    return target.is_file() and (not sha256 or file_digest(target).startswith(sha256))


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock at `path`, creating its folder; `on_wait` is called if another process holds the lock first.

    Raises:
        BadInput: the folder cannot be written, or its file system has no locks.
    """
    lock = FileLock(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        except NotImplementedError as error:
            raise BadInput(f"{path}: its file system has no file locks; choose a folder on another") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` into one line about `path`: GoodshotError for a full device, else BadInput."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GoodshotError(f"{path}: {error.strerror}; make room, the same command continues") from error
        raise BadInput(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of the file's bytes (64 hex digits)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def readable(count: int) -> str:
    """Returns a number of bytes in readable form: `5.3 GB`."""
    amount, units = float(count), ["B", "kB", "MB", "GB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] in ("B", "kB", "MB") else f"{amount:.1f} {units[0]}"


@dataclass(frozen=True)
class _Wanted:
    """The requested file, and what is known about it."""

    url: str
    sha256: str
    size: int | None
    headers: Mapping[str, str]


def _fill(wanted: _Wanted, part: Path, on_progress: Progress) -> None:
    """Downloads the partial file to its full length, by as many requests as necessary."""
    import requests

    failures, furthest = 0, _length(part)
    with requests.Session() as session:
        while True:
            try:
                return _request(session, wanted, part, on_progress)
            except _Interrupted as problem:
                failures = 0 if _length(part) > furthest else failures + 1
                furthest = max(furthest, _length(part))
                if failures > len(WAITS):
                    raise Unavailable(
                        f"{wanted.url}: {problem}, {failures} times in a row; try again later, what has arrived is kept"
                    ) from problem
                time.sleep(WAITS[max(failures - 1, 0)])


def _request(session: requests.Session, wanted: _Wanted, part: Path, on_progress: Progress) -> None:
    known = _version(part, wanted.sha256)
    start = _length(part) if known else 0
    if known and known.total is not None and start == known.total:
        return on_progress(start, start)
    with _get(session, wanted, start, known.validator if known else None) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _discard(part)
            raise _Interrupted("the server has fewer bytes than were received before")
        total = _total(response, start)
        _check_answer(wanted, response, total)
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            start = 0
        _check_space(part, start, total)
        _note(part, _Version(wanted.sha256, _validator(response), total))
        _append(part, start, _chunks(response), total, on_progress)
    if total is not None and _length(part) != total:
        if _length(part) > total:
            _discard(part)
        raise _Interrupted(f"the server did not send the {total} bytes that it announced")


def _get(session: requests.Session, wanted: _Wanted, start: int, validator: str | None) -> requests.Response:
    headers = {**_OURS, **wanted.headers}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    with _connected(wanted.url):
        return session.get(wanted.url, headers=headers, stream=True, timeout=_CONNECT_AND_READ_SECONDS)


@contextmanager
def _connected(url: str) -> Iterator[None]:
    """Turns an exception of requests into a one-line error about `url`."""
    import requests

    try:
        yield
    except requests.exceptions.ProxyError as error:
        raise Unavailable(f"{url}: the proxy {_proxy(url)} refuses ({_reason(error)}); check the proxy") from error
    except requests.exceptions.SSLError as error:
        raise Unavailable(f"{url}: no trusted connection ({_reason(error)}); check the certificates") from error
    except requests.exceptions.ConnectionError as error:
        if _aborted(error):
            raise _Interrupted("the connection was cut") from error
        raise Unavailable(f"{url}: cannot be reached ({_reason(error)}); check the network or the proxy") from error
    except requests.exceptions.Timeout as error:
        raise _Interrupted("the server does not answer in time") from error
    except requests.exceptions.InvalidURL as error:
        # The message of requests contains the address, and a proxy's address may contain a password.
        raise Unavailable(f"{url}: cannot be requested; check HTTP_PROXY and HTTPS_PROXY, and the address") from error
    except requests.exceptions.RequestException as error:
        raise Unavailable(f"{url}: cannot be downloaded ({_reason(error)}); check the address") from error


def _check_passing(response: requests.Response) -> str:
    """Returns the server's answer in words. Raises _Interrupted for a status that may change at the next attempt."""
    status = response.status_code
    answer = f"the server answers {status} {response.reason or ''}".strip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        raise _Interrupted(answer)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise Unavailable(
            f"{response.url}: the proxy {_proxy(response.url)} wants a name and password; set them in HTTP_PROXY"
        )
    return answer


def _check_answer(wanted: _Wanted, response: requests.Response, total: int | None) -> None:
    url, size = wanted.url, wanted.size
    answer = _check_passing(response)
    if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise Unavailable(f"{url}: {answer}; the link may have moved")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise Unavailable(f"{url}: the server sends a web page in place of the file; the link may have moved")
    if size is not None and total is not None and total != size:
        raise Unavailable(f"{url}: the server offers {total} bytes, not the {size} published; the link may have moved")
    if total is None and len(wanted.sha256) < _ENOUGH_DIGITS:
        raise Unavailable(
            f"{url}: neither a hash nor a length is known, so an incomplete file would look complete; get it by hand"
        )


def _total(response: requests.Response, start: int) -> int | None:
    """Returns the length of the whole file, or None where the server does not say."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not ranged or int(ranged[1]) != start:
            raise Unavailable(f"{response.url}: the server sent another range than requested; download it by hand")
        return int(ranged[2])
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _chunks(response: requests.Response) -> Iterator[bytes]:
    import requests

    # Some servers label a .tar.gz as encoded with gzip; its bytes must not be decoded.
    response.raw.headers.pop("Content-Encoding", None)
    try:
        yield from response.iter_content(CHUNK)
    except requests.exceptions.RequestException as error:
        raise _Interrupted("the connection was cut") from error


def _append(part: Path, start: int, chunks: Iterator[bytes], total: int | None, on_progress: Progress) -> None:
    done = start
    with part.open("ab" if start else "wb") as stream:
        on_progress(done, total)
        for chunk in chunks:
            stream.write(chunk)
            done += len(chunk)
            on_progress(done, total)


def _check_space(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free + (0 if start else _length(part))
    if total is not None and total - start > free:
        raise GoodshotError(
            f"{part.parent}: {readable(total - start)} remain to be downloaded and {readable(free)} are free; "
            "make room or choose another folder"
        )


def _validator(response: requests.Response) -> str | None:
    """Returns the value for an If-Range header: a strong ETag or a date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version(part: Path, sha256: str) -> _Version | None:
    """Returns the version that the partial file belongs to, or None if there is nothing to continue."""
    if not _length(part):
        return None
    try:
        version = _Version(**json.loads(_version_file(part).read_text()))
    except (FileNotFoundError, TypeError, ValueError):
        return None
    too_long = version.total is not None and _length(part) > version.total
    # Without a hash, only the server's own version mark shows that the remaining bytes belong to the received ones.
    unmarked = version.validator is None and len(sha256) < _ENOUGH_DIGITS
    return None if too_long or unmarked or version.sha256 != sha256 else version


def _note(part: Path, version: _Version) -> None:
    version_file = _version_file(part)
    new = version_file.with_name(f"{version_file.name}.new")
    new.write_text(json.dumps(asdict(version)))
    new.replace(version_file)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _aborted(error: requests.exceptions.ConnectionError) -> bool:
    """Whether an open connection broke; requests distinguishes this case only by the message."""
    import requests

    return "Connection aborted" in str(error) or isinstance(error, requests.exceptions.ChunkedEncodingError)


def _reason(error: BaseException) -> str:
    """Returns the innermost cause in one short line: requests nests the informative message three levels deep."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or next(iter(error.args[:1]), None)
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        original = getattr(error, "original_error", None) or inner
        if not isinstance(original, BaseException):
            break
        error = original
    text = re.sub(r"^<[^>]*>: |^\w+\([^)]*\): ", "", str(error).splitlines()[0] if str(error) else "")
    # The message of requests about an address that it cannot parse contains a proxy's name and password.
    return re.sub(r"(?<=://)\S*@?\S*", "…", text) or type(error).__name__


def _proxy(url: str) -> str:
    """Returns host and port of the proxy for `url`, without a user's name and password."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return ""
    proxy = urlsplit(getproxies().get(parts.scheme) or os.environ.get("ALL_PROXY", ""))
    return f"{proxy.hostname}:{proxy.port}" if proxy.port else proxy.hostname or ""
