"""Check the software and hardware of every node, and compare them with the driver and the needs of studies."""

from __future__ import annotations

import ipaddress
import math
import platform
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from goodshot.components.download import readable
from goodshot.components.errors import GoodshotError
from goodshot.runner.machine.doctor import Finding
from goodshot.runner.nodes.probe import Answer, Place, Question, ask, marker_name, sources_digest
from goodshot.runner.plan.scheduling import Share, Shares
from goodshot.runner.store.files import Files
from goodshot.runner.study.study import Study

ANSWER_SECONDS = 60.0
"""Time limit for a node's answer. A slower node gets no work: it is overloaded, or cannot start worker processes."""
PROCESS_BYTES = 2 * 10**9
"""Approximate memory of a process that trains a detector or a small generator at 256 pixels, including libraries."""
CLOCK_SECONDS = 300.0
"""The maximum difference of clocks. Kerberos rejects a difference of 5 minutes, and object stores one of 15 minutes."""


@dataclass(frozen=True)
class Node:
    """A node that is alive. Its name is its address, with a part of its id if several nodes have this address."""

    id: str
    name: str
    address: str
    resources: Mapping[str, float]

    @property
    def cpus(self) -> float:
        """The logical CPUs; a node without any runs no stage."""
        return self.resources.get("CPU", 0.0)

    @property
    def gpus(self) -> float:
        """The logical GPUs, as ``--num-gpus`` gave them or Ray found them."""
        return self.resources.get("GPU", 0.0)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the node."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.address).is_loopback
        return self.address == "localhost"


@dataclass(frozen=True)
class NodeCheck:
    """The findings of a node's check.

    absent: the driver's photographs that are not on the node.
    """

    node: Node
    findings: tuple[Finding, ...]
    has_token: bool = True
    absent: frozenset[str] = field(default_factory=frozenset)

    @property
    def faults(self) -> list[Finding]:
        """The findings that keep stages from running on the node."""
        return [finding for finding in self.findings if finding.is_fault]


def living_nodes() -> list[Node]:
    """Return the nodes of the cluster that this process is connected to."""
    listed = [node for node in ray.nodes() if node["Alive"]]
    same = Counter(node["NodeManagerAddress"] for node in listed)
    nodes = []
    for node in listed:
        id_, address = node["NodeID"], node["NodeManagerAddress"]
        name = address if same[address] == 1 else f"{address} ({id_[:8]})"
        nodes.append(Node(id_, name, address, node["Resources"]))
    return nodes


def check_nodes(
    nodes: Sequence[Node],
    studies: Sequence[Study] = (),
    places: Sequence[Place] = (),
    photographs: Sequence[str] = (),
) -> list[NodeCheck]:
    """Check all nodes in parallel.

    Args:
        studies: the studies whose weights a node needs.
        places: the folders or URIs that the nodes have to share with this process.
        photographs: paths of photographs on this machine; a check lists the paths that the node lacks.

    Raises:
        BadInput, GoodshotError: this process cannot write to one of the places.
    """
    marker = uuid.uuid4().hex
    question = Question("", 0, 0, sources_digest(), marker, tuple(places), tuple(studies), tuple(photographs))
    with _markers(places, marker, nodes):
        began = time.time()
        told = _ask_all(nodes, question)
        ended = time.time()
        return [
            _with_replies(_judged(node, told.get(node.id), question.sources, (began, ended)), places, marker)
            for node in nodes
        ]


def room(studies: Sequence[Study], nodes: Sequence[Node]) -> Iterator[Finding]:
    """Check for each study that at least one of these nodes has room for each kind of stage."""
    shares = Shares([dict(node.resources) for node in nodes])
    for study in studies:
        for kind, share in shares.largest(study.resources).items():
            asked = f"{study.name}: a {kind} asks for {share.label}"
            count = share.fits(shares.nodes)
            if count:
                yield Finding("cluster", "room", "here", f"{asked}: {count} at once")
                yield from _narrow(kind, share, nodes)
            else:
                remedy = f"lower resources.{kind}_cpus or resources.{kind}_gpus, or add a larger node"
                yield Finding("cluster", "room", "faulty", f"{asked}, and no node without a fault has them", remedy)


def _narrow(kind: str, share: Share, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Yield a note for each node without enough memory for all stages that fit on its CPUs and GPUs."""
    for node in nodes:
        count = share.fits([dict(node.resources)]) * (1 + share.workers)
        memory = node.resources.get("memory", math.inf)
        if memory < count * PROCESS_BYTES:
            detail = f"{readable(int(memory))} for {count} processes at once, of which each {kind} needs about "
            remedy = f"raise resources.{kind}_cpus, or start Ray there with a smaller --num-cpus"
            yield Finding(node.name, "memory", "note", f"{detail}{readable(PROCESS_BYTES)}", remedy)


def _ask_all(nodes: Sequence[Node], question: Question) -> dict[str, Any]:
    """Return the answer of each node by its id: its facts, or the error of its task."""
    # A retry would double the time until a node that cannot start processes is detected.
    task = ray.remote(num_cpus=0, max_retries=0)(ask())
    asked = {}
    for node in nodes:
        own = replace(question, node=node.name, cpus=node.cpus, gpus=node.gpus)
        here = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked[task.options(scheduling_strategy=here).remote(ray.cloudpickle.dumps(own))] = node.id
    answered, silent = ray.wait([*asked], num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    told: dict[str, Any] = {}
    for reference in answered:
        try:
            told[asked[reference]] = ray.get(reference)
        except Exception as error:  # any error, for example because the node or its worker died
            told[asked[reference]] = error
    for reference in silent:
        ray.cancel(reference, force=True)
    return told


def _judged(node: Node, told: Any, sources: str, asked_at: tuple[float, float]) -> NodeCheck:
    """Return the check of one node, made from the node's answer."""
    if not isinstance(told, dict):
        problem = f"no answer within {ANSWER_SECONDS:g} s" if told is None else f"{told}".strip().splitlines()[0]
        remedy = "look into Ray's logs on that node (/tmp/ray/session_latest/logs), and start it again"
        return NodeCheck(node, (Finding(node.name, "Ray", "faulty", problem, remedy),))
    findings = [*_versions(node, told, sources), _clock(node, told["clock"], asked_at)]
    answer: Answer | None = told["answer"]
    if answer is None or answer.sources != sources:
        return NodeCheck(node, tuple(findings))
    findings += answer.findings
    if not answer.has_token:
        remedy = "stop it; start it again with RAY_AUTH_MODE=token and a token (docs/cluster.md)"
        findings.append(Finding(node.name, "token", "note", "none: runs commands of whoever reaches it", remedy))
    if not node.cpus:
        findings = [replace(finding, state="note") if finding.is_fault else finding for finding in findings]
    return NodeCheck(node, tuple(findings), answer.has_token, answer.absent)


def _versions(node: Node, told: Mapping[str, Any], sources: str) -> Iterator[Finding]:
    ours = {"Python": platform.python_version(), "Ray": version("ray")}
    for name, own in ours.items():
        if told[name] != own:
            detail = f"{told[name]}; the driver has {own}"
            yield Finding(node.name, name, "faulty", detail, "install the same on every node (constraints.txt)")
    answer: Answer | None = told["answer"]
    remedy = "bring the same code to every node, and start Ray there again"
    if answer is None:
        detail = f"{told['goodshot']}: cannot answer ({told['problem']})"
        yield Finding(node.name, "goodshot", "faulty", detail, remedy)
    elif answer.sources != sources:
        detail = f"{told['goodshot']} with code {answer.sources}; the driver has {sources}"
        yield Finding(node.name, "goodshot", "faulty", detail, remedy)
    if answer is not None and answer.sources == sources and all(told[name] == own for name, own in ours.items()):
        detail = f"Python {told['Python']}, Ray {told['Ray']}, goodshot {told['goodshot']} with code {sources}"
        yield Finding(node.name, "software", "here", detail)


def _clock(node: Node, clock: float, asked_at: tuple[float, float]) -> Finding:
    """Compare a node's clock with the time between question and answer."""
    began, ended = asked_at
    offset = max(0.0, clock - ended) or min(0.0, clock - began)
    if abs(offset) <= CLOCK_SECONDS:
        return Finding(node.name, "clock", "here", "as the driver's")
    direction = "ahead of" if offset > 0 else "behind"
    minutes = abs(clock - (began + ended) / 2) / 60
    detail = f"about {minutes:.0f} min {direction} the driver's; object stores refuse such requests"
    return Finding(node.name, "clock", "faulty", detail, "set it by NTP (timedatectl set-ntp true)")


@contextmanager
def _markers(places: Sequence[Place], marker: str, nodes: Sequence[Node]) -> Iterator[None]:
    """Write a marker file to each place during a ``with`` block; then delete the marker and the nodes' replies."""
    try:
        for place in places:
            files = Files(place.uri)
            files.check_writable()
            files.write(marker_name(marker), marker.encode())
        yield
    finally:
        for place in places:
            for name in (marker_name(marker), *(marker_name(marker, node.name) for node in nodes)):
                with suppress(OSError, GoodshotError):
                    Files(place.uri).delete(name)


def _with_replies(check: NodeCheck, places: Sequence[Place], marker: str) -> NodeCheck:
    """Check that the driver sees a node's replies, because a place may show files in only one direction."""
    findings = list(check.findings)
    for number, finding in enumerate(findings):
        place = next((place for place in places if place.option == finding.item and finding.state == "here"), None)
        if place is not None and not Files(place.uri).exists(marker_name(marker, check.node.name)):
            detail = f"{place.option}: what this node writes there does not reach the driver"
            findings[number] = replace(finding, state="missing", detail=detail, remedy="mount it for writing")
    return replace(check, findings=tuple(findings))
