"""``goodshot doctor --address``: list what each node of a running cluster has and lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from goodshot.runner.cluster.connection import cluster
from goodshot.runner.machine.doctor import Finding, study_weights
from goodshot.runner.nodes.check import NodeCheck, check_nodes, living_nodes, room
from goodshot.runner.nodes.probe import Place
from goodshot.runner.store.files import absolute, below
from goodshot.runner.study.study import Study


def examine_cluster(address: str, studies: Sequence[Study], out: str | None, store: str | None) -> list[Finding]:
    """Check the nodes for the studies, and for ``--out`` and ``--store`` if they are given.

    Raises:
        BadInput: this process cannot write to ``--out`` or ``--store``.
        GoodshotError: no cluster answers at ``address``.
    """
    places = _places(out, store)
    with cluster(address):
        checks = check_nodes(living_nodes(), studies, places, _folders(studies))
    usable = [check.node for check in checks if not check.faults]
    found = [finding for check in checks for finding in _findings(check)]
    return [*_of_the_driver(studies), *found, *room(studies, usable)]


def _of_the_driver(studies: Sequence[Study]) -> Iterator[Finding]:
    """Yield the weights that this process lacks. It plans the studies, and fingerprints contain the weights' hashes."""
    for finding in dict.fromkeys(finding for study in studies for finding in study_weights(study)):
        if finding.is_fault:
            yield replace(finding, area="this command", item="weights", detail=f"{finding.item}: {finding.detail}")


def _places(out: str | None, store: str | None) -> list[Place]:
    """Return the places of a run with these options. The store is below ``--out`` unless ``--store`` is given."""
    places = [Place("--out", absolute(out))] if out else []
    if out and not store:
        return [*places, Place("--store", below(absolute(out), "store"))]
    return [*places, Place("--store", absolute(store))] if store else places


def _folders(studies: Sequence[Study]) -> list[str]:
    """Return the folders of this machine from which the studies read photographs."""
    roots = (dataset.root for study in studies for dataset in (study.dataset, *study.sources))
    return [*dict.fromkeys(root for root in roots if root and "://" not in root)]


def _findings(check: NodeCheck) -> Iterator[Finding]:
    yield from check.findings
    if check.absent and check.node.cpus:
        detail = f"not on this node: {', '.join(sorted(check.absent))}"
        remedy = "none needed: the driver of a run writes them to the store"
        yield Finding(check.node.name, "photographs", "note", detail, remedy)
