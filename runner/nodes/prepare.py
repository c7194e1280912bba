"""Prepare a joined cluster for a run: exclude faulty nodes, and write photographs that nodes lack to the store."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.nodes.check import Node, NodeCheck, check_nodes, living_nodes
from goodshot.runner.nodes.probe import Place
from goodshot.runner.plan.plan import Plan
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study

LOOK_SECONDS = 2.0
"""Pause between two checks for nodes that have joined."""
NAMED_NODES = 3
"""Maximum number of nodes with the same fault that a line names; the others are counted."""


class NodeGate:
    """Checks each node of a joined cluster when the node is first seen, and excludes faulty nodes.

    The driver writes photographs that a node without faults lacks to the store.

    Args:
        studies: the studies of the run; a node needs their weights.
        insecure_local: whether to use a cluster without a token if only this machine can reach its nodes.

    Attributes:
        seen: the Ray ids of all checked nodes.
        faulty: the Ray ids of the checked nodes that must get no work.
    """

    def __init__(
        self, studies: Sequence[Study], plan: Plan, out_uri: str, store_uri: str, insecure_local: bool, console: Console
    ) -> None:
        self.seen: frozenset[str] = frozenset()
        self.faulty: frozenset[str] = frozenset()
        self._studies, self._plan, self._insecure_local, self._console = studies, plan, insecure_local, console
        self._places = (Place("--out", out_uri), Place("--store", store_uri))
        self._store = Store(store_uri)

    def open(self) -> None:
        """Check the nodes that are in the cluster at the start of a run, and print a line for each fault.

        Raises:
            BadInput: the cluster has no token, every node that could run a stage has a fault, or ``--out`` or
                ``--store`` cannot be written.
        """
        checks = self._check(living_nodes())
        require_token(checks, self._insecure_local)
        self._take(checks)
        # A cluster without any node is accepted, because an autoscaler may add nodes later.
        if self.faulty and not any(check.node.cpus for check in checks if not check.faults):
            raise BadInput("every node of the cluster that could run a stage has a fault, listed above with its remedy")

    def look(self) -> bool:
        """Check the nodes that have joined since the last check. Returns whether a node has joined."""
        joined = [node for node in living_nodes() if node.id not in self.seen]
        if joined:
            self._take(self._check(joined))
        return bool(joined)

    @contextmanager
    def watching(self, admit: Callable[[frozenset[str], frozenset[str]], object]) -> Iterator[None]:
        """Look for new nodes during a ``with`` block. A check takes seconds, so it has a thread of its own.

        Args:
            admit: called with :attr:`seen` and :attr:`faulty` after each check.
        """
        stop = threading.Event()

        def loop() -> None:
            while not stop.wait(LOOK_SECONDS):
                # Any error is ignored, for example while the head restarts or the store cannot be reached: the new
                # node gets no work until a later check succeeds.
                with suppress(Exception):
                    if self.look():
                        admit(self.seen, self.faulty)

        thread = threading.Thread(target=loop, name="node checks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=LOOK_SECONDS)

    def _check(self, nodes: Sequence[Node]) -> list[NodeCheck]:
        return check_nodes(nodes, self._studies, self._places, [*_unmade_shards(self._plan, self._store)])

    def _take(self, checks: Sequence[NodeCheck]) -> None:
        faulty = [check for check in checks if check.faults]
        for line in fault_lines(faulty):
            self._console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
        self._write_shards({path for check in checks if not check.faults and check.node.cpus for path in check.absent})
        self.faulty |= {check.node.id for check in faulty}
        self.seen |= {check.node.id for check in checks}

    def _write_shards(self, absent: Collection[str]) -> None:
        shards = _unmade_shards(self._plan, self._store)
        wanted = sorted(path for path in absent if path in shards)
        if wanted:
            self._console.print(
                f"writing the photographs of {len(wanted)} categories to the store here: not every node has them",
                highlight=False,
            )
        executor = LocalExecutor(self._plan, self._store)
        for path in wanted:
            executor.make(shards[path].id)


def fault_lines(checks: Iterable[NodeCheck]) -> list[str]:
    """Return one line for each fault: the nodes that have the fault, its description, and its remedy."""
    names: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for check in checks:
        for fault in check.faults:
            names[fault.item, fault.detail, fault.remedy].append(check.node.name)
    return [_fault_line(nodes, *fault) for fault, nodes in names.items()]


def _fault_line(nodes: Sequence[str], item: str, detail: str, remedy: str) -> str:
    more = f" and {len(nodes) - NAMED_NODES} more" if len(nodes) > NAMED_NODES else ""
    return f"{', '.join(nodes[:NAMED_NODES])}{more}: {item}: {detail}" + f"; {remedy}" * bool(remedy)


def require_token(checks: Sequence[NodeCheck], insecure_local: bool) -> None:
    """Raise :class:`BadInput` if a node has no token.

    Args:
        insecure_local: whether nodes without a token are accepted if only this machine can reach the cluster.
    """
    open_nodes = [check.node for check in checks if not check.has_token]
    if not open_nodes or (insecure_local and all(check.node.is_loopback for check in checks)):
        return
    waived = "; --insecure-local is for clusters on 127.0.0.1 alone" if insecure_local else ""
    raise BadInput(
        f"the cluster runs commands of whoever reaches it: {open_nodes[0].name} has no token; "
        f"start it again with RAY_AUTH_MODE=token (docs/cluster.md){waived}"
    )


def _unmade_shards(plan: Plan, store: Store) -> dict[str, ShardStage]:
    """Return the missing shards that are made from a folder, by the path of their first photograph."""
    shards = (stage for stage in plan.of(ShardStage) if stage.source is None)
    return {str(stage.samples[0].image_path): stage for stage in shards if not stage.is_made(store)}
