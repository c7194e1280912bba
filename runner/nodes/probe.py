"""The checks that a task runs on a node: GPUs, weights, storage, disk, token files.

The driver pickles the function of :func:`ask` by value, so that a node answers even if it has another version of
goodshot, or none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import goodshot
from goodshot.components.download import readable
from goodshot.components.errors import GoodshotError
from goodshot.runner.machine.doctor import Finding, study_weights
from goodshot.runner.store.files import TEMPORARY, Files
from goodshot.runner.study.study import Study

LEAST_FREE = 2**30
"""The minimum free bytes on each disk that a run writes to: enough for Ray's worker logs and one image set."""
CUDA_SECONDS = 45.0
LOOK_AGAIN_SECONDS = (0.5, 1.5)
"""The pauses in seconds before a missing marker is looked for again: network file systems show new files late."""
CUDA = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
CARDS = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Place:
    """A folder or URI that all nodes of a run have to share, and the option that names it (``--out``, ``--store``)."""

    option: str
    uri: str


@dataclass(frozen=True)
class Question:
    """The data that a node's check needs.

    node: the name of the node in findings.
    cpus, gpus: the node's numbers of logical CPUs and GPUs.
    sources: the digest of the driver's goodshot; a node with another digest is not checked further.
    marker: the content of the marker files that the driver has written to each place.
    photographs: paths of files or folders that the driver reads photographs from.
    """

    node: str
    cpus: float
    gpus: float
    sources: str
    marker: str
    places: tuple[Place, ...] = ()
    studies: tuple[Study, ...] = ()
    photographs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A node's answer.

    absent: the photographs that are not on the node.
    """

    sources: str
    findings: tuple[Finding, ...] = ()
    has_token: bool = False
    absent: frozenset[str] = field(default_factory=frozenset)


def ask() -> Callable[[bytes], dict[str, Any]]:
    """Return the function that runs on a node. It is nested, because only nested functions are pickled by value."""

    def told(question: bytes) -> dict[str, Any]:
        import platform
        import time
        from importlib.metadata import PackageNotFoundError, version

        def installed(name: str) -> str:
            try:
                return version(name)
            except PackageNotFoundError:
                return "unknown"

        facts: dict[str, Any] = {"clock": time.time(), "Python": platform.python_version(), "answer": None}
        facts |= {"Ray": installed("ray"), "goodshot": installed("goodshot")}
        try:
            import ray.cloudpickle

            from goodshot.runner.nodes.probe import answer

            facts["answer"] = answer(ray.cloudpickle.loads(question))
        except Exception as error:
            facts["problem"] = f"{type(error).__name__}: {error}".splitlines()[0]
        return facts

    return told


def answer(question: Question) -> Answer:
    """Run the checks on this node."""
    digest = sources_digest()
    if digest != question.sources:
        return Answer(digest)
    findings = (
        *_machine(question),
        *_disks(question),
        *(_place_finding(question, place) for place in question.places),
        *_weights(question),
        *_token_files(question.node),
    )
    absent = frozenset(path for path in question.photographs if not Path(path).exists())
    return Answer(digest, findings, os.environ.get("RAY_AUTH_MODE") == "token", absent)


def sources_digest() -> str:
    """Return 12 hexadecimal digits of a SHA-256 over goodshot's Python files, as equal versions may differ in code."""
    digest = hashlib.sha256()
    for root in goodshot.__path__:
        # A checkout links its folders into the package.
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders.sort()
            for name in sorted(name for name in names if name.endswith(".py")):
                path = Path(folder, name)
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def marker_name(marker: str, node: str = "") -> str:
    """Return the name of the driver's marker file, or of the file by which a node replies."""
    reply = hashlib.sha256(node.encode()).hexdigest()[:16] if node else ""
    return f"{TEMPORARY}nodes-{marker}{reply}"


def _machine(question: Question) -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    offered = f"{question.cpus:g} CPUs and {question.gpus:g} GPUs for Ray, {readable(memory)} of memory"
    yield Finding(question.node, "machine", "here", offered)
    if question.gpus:
        yield _gpu_finding(question)


def _gpu_finding(question: Question) -> Finding:
    """Compare the number of GPUs that Ray was given with the number that torch can use."""
    usable, problem = _cuda_devices()
    if problem or usable < question.gpus:
        detail = f"{question.gpus:g} by --num-gpus, {usable} that torch can use" + f" ({problem})" * bool(problem)
        remedy = "install the NVIDIA driver there, or start the node with the GPUs that it has"
        return Finding(question.node, "GPU", "faulty", detail, remedy)
    cards = _output(CARDS, os.environ).splitlines()
    return Finding(question.node, "GPU", "here", "; ".join(dict.fromkeys(cards)) or f"{usable} that torch can use")


def _cuda_devices() -> tuple[int, str]:
    """Return the number of CUDA devices, counted in a subprocess so that torch reserves no GPU memory in this process.

    Ray hides the GPUs from a task that requests none.
    """
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        return int(_output((sys.executable, "-W", "ignore", "-c", CUDA), environment)), ""
    except ValueError:
        return 0, "torch cannot be imported"


def _output(command: Iterable[str], environment: Any) -> str:
    """Return the output of a command; empty if the command does not exist or fails."""
    try:
        done = subprocess.run(
            [*command], env=dict(environment), capture_output=True, text=True, timeout=CUDA_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _disks(question: Question) -> Iterator[Finding]:
    """Check the free space of the folders on disks: Ray's, the system's temporary one, ``--out`` and ``--store``."""
    import ray

    folders = {"Ray's temporary folder": ray.get_runtime_context().get_temp_dir(), "TMPDIR": tempfile.gettempdir()}
    for place in question.places:
        files = Files(place.uri)
        if files.is_local:
            folders[place.option] = files.base
    # Several folders may lie on one disk, which is reported once.
    disks = {Path(folder).stat().st_dev: name for name, folder in folders.items() if Path(folder).exists()}
    free = {name: shutil.disk_usage(folders[name]).free for name in disks.values()}
    for name, size in free.items():
        if size < LEAST_FREE:
            detail = f"{readable(size)} free in {folders[name]} ({name}), less than {readable(LEAST_FREE)}"
            yield Finding(question.node, "disk", "faulty", detail, "make room there")
    if all(size >= LEAST_FREE for size in free.values()):
        yield Finding(question.node, "disk", "here", f"{readable(min(free.values()))} free, or more")


def _place_finding(question: Question, place: Place) -> Finding:
    """Read the driver's marker, and reply with a file that the driver looks for."""
    files = Files(place.uri)
    where = f"{place.option} {files.shown}"
    try:
        if not _is_seen(files, question.marker):
            detail = f"{where} is not the driver's folder: what the driver wrote is not there"
            remedy = "give a folder that all nodes mount, or an object store (s3://…)"
            return Finding(question.node, place.option, "missing", detail, remedy)
        files.write(marker_name(question.marker, question.node), question.marker.encode())
    except GoodshotError as error:
        return Finding(question.node, place.option, "missing", str(error))
    return Finding(question.node, place.option, "here", "shared with the driver")


def _is_seen(files: Files, marker: str) -> bool:
    for pause in (0.0, *LOOK_AGAIN_SECONDS):
        time.sleep(pause)
        try:
            return files.read(marker_name(marker)) == marker.encode()
        except FileNotFoundError:
            continue
    return False


def _weights(question: Question) -> Iterator[Finding]:
    """Check the weights of the studies.

    A node without CPUs runs no stage, so that a missing weight is no fault there. The command of a submitted job plans
    its study on the head and needs the weights for that.
    """
    found = dict.fromkeys(finding for study in question.studies for finding in study_weights(study))
    here = [finding.item for finding in found if finding.state == "here"]
    if here:
        yield Finding(question.node, "weights", "here", ", ".join(here))
    for finding in found:
        if finding.state != "here":
            detail = f"{finding.item}: {finding.detail}"
            yield Finding(question.node, "weights", finding.state, detail, finding.remedy)


def _token_files(node: str) -> Iterator[Finding]:
    """Find token files that other users of the machine can read, because Ray makes them readable for everybody."""
    paths = {Path.home() / ".ray" / "auth_token", Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "/dev/null")}
    for path in sorted(path for path in paths if path.is_file()):
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding(node, "token", "note", f"{path} can be read by others", f"chmod 600 {path}")
