"""Prepare a joined cluster for a run: leave faulty nodes out, and bring photographs to nodes that lack them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.nodes.check import NodeCheck, check_nodes, living_nodes
from goodshot.runner.nodes.probe import Place
from goodshot.runner.plan.plan import Plan
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study

NAMED_NODES = 3
"""How many nodes with the same fault a line names."""


def prepare_nodes(
    studies: Sequence[Study], plan: Plan, out_uri: str, store_uri: str, insecure_local: bool, console: Console
) -> frozenset[str]:
    """Check the nodes of a joined cluster for these studies, and print a line for each fault.

    Photographs that are on this machine only are written to the store here.

    Args:
        insecure_local: whether a cluster without a token is used if only this machine reaches its nodes.

    Returns:
        The Ray ids of the faulty nodes, which must get no work.

    Raises:
        BadInput: the cluster has no token, every node that could run a stage has a fault, or ``--out`` or ``--store``
            cannot be written.
    """
    shards = _unmade_shards(plan, Store(store_uri))
    places = (Place("--out", out_uri), Place("--store", store_uri))
    checks = check_nodes(living_nodes(), studies, places, [*shards])
    require_token(checks, insecure_local)
    faulty = [check for check in checks if check.faults]
    for line in fault_lines(faulty):
        console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
    # Where no node has a fault, there may be none yet: an autoscaler adds them.
    if faulty and not any(check.node.cpus for check in checks if not check.faults):
        raise BadInput("every node of the cluster that could run a stage has a fault, listed above with its remedy")
    absent = {path for check in checks if not check.faults and check.node.cpus for path in check.absent}
    if absent:
        console.print(
            f"writing the photographs of {len(absent)} categories to the store here: not every node has them",
            highlight=False,
        )
        executor = LocalExecutor(plan, Store(store_uri))
        for path in sorted(absent):
            executor.make(shards[path].id)
    return frozenset(check.node.id for check in faulty)


def fault_lines(checks: Iterable[NodeCheck]) -> list[str]:
    """One line for each fault: the nodes that have it, what it is, and its remedy."""
    names: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for check in checks:
        for fault in check.faults:
            names[fault.item, fault.detail, fault.remedy].append(check.node.name)
    return [_fault_line(nodes, *fault) for fault, nodes in names.items()]


def _fault_line(nodes: Sequence[str], item: str, detail: str, remedy: str) -> str:
    more = f" and {len(nodes) - NAMED_NODES} more" if len(nodes) > NAMED_NODES else ""
    return f"{', '.join(nodes[:NAMED_NODES])}{more}: {item}: {detail}" + f"; {remedy}" * bool(remedy)


def require_token(checks: Sequence[NodeCheck], insecure_local: bool) -> None:
    """Raise :class:`BadInput` for a cluster without a token, unless it is waived and only this machine reaches it."""
    open_nodes = [check.node for check in checks if not check.has_token]
    if not open_nodes or (insecure_local and all(check.node.is_loopback for check in checks)):
        return
    waived = "; --insecure-local is for clusters on 127.0.0.1 alone" if insecure_local else ""
    raise BadInput(
        f"the cluster runs commands of whoever reaches it: {open_nodes[0].name} has no token; "
        f"start it again with RAY_AUTH_MODE=token (docs/cluster.md){waived}"
    )


def _unmade_shards(plan: Plan, store: Store) -> dict[str, ShardStage]:
    """The shards that the store lacks and that are written from photographs in a folder, by the path of the first."""
    shards = (stage for stage in plan.of(ShardStage) if stage.source is None)
    return {str(stage.samples[0].image_path): stage for stage in shards if not stage.is_made(store)}
