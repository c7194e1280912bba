"""The state of a run in a terminal: in the driver's own, and by ``goodshot status`` in any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from goodshot.runner.console.durations import duration
from goodshot.runner.results.prices import Prices
from goodshot.runner.results.status import NodeStatus, Status

GB = 1e9
MOST_NODES = 20
"""Maximum number of nodes in the table; all further nodes are added up in one line."""


def status_view(status: Status, prices: Prices | None = None) -> RenderableType:
    """Everything that is known of a run, and of the others that go on in its ``--out``, in the order they began."""
    return Group(*(part for each in status.all for part in _parts(each, prices)))


def _parts(status: Status, prices: Prices | None) -> Iterator[RenderableType]:
    """Yield the state of one run, its progress, stages, nodes and cost."""
    yield Text(headline(status))
    yield _bars(status)
    yield from (table for table in (_stages(status), _nodes(status)) if table is not None)
    yield from (Text(line) for line in _lines(status, prices))


def headline(status: Status) -> str:
    """The studies, the driver's machine, the state, and the times, as one line."""
    names = ", ".join(status.studies[:3]) + f" and {len(status.studies) - 3} more" * (len(status.studies) > 3)
    took = duration((status.written - status.began).total_seconds())
    if status.is_silent:
        silent = duration((datetime.now(UTC) - status.written).total_seconds())
        state = f"no sign of life for {silent}: its driver has ended or is cut off; the same command continues it"
    elif status.state == "running":
        left = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
        state = f"running for {took}{left}"
    else:
        state = f"{status.state} after {took}"
    return f"{names} on {status.host}: {state}"


def progress_line(status: Status) -> str:
    """The counts as one line for a log; empty before there are any."""
    if not status.cells_to_run:
        return ""
    parts = [
        f"cells {status.cells_done}/{status.cells_to_run}",
        f"generator steps {status.steps_done}/{status.steps_total}",
        *([f"{status.cells_failed} failed"] if status.cells_failed else []),
        *([f"running {_counted(status.running)}"] if status.running else []),
        *([status.waits_for] if status.waits_for else []),
    ]
    return " · ".join(parts)


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _bars(status: Status) -> Table:
    grid = Table.grid(padding=(0, 2))
    notes = [f"{status.cells_failed} failed"] if status.cells_failed else []
    notes += [f"{status.cells_reused} finished before"] if status.cells_reused else []
    notes += [f"{status.cells_skipped} skipped"] if status.cells_skipped else []
    for title, done, total, note in (
        ("cells", status.cells_done, status.cells_to_run, ", ".join(notes)),
        ("generator steps", status.steps_done, status.steps_total, ""),
    ):
        bar = ProgressBar(total=max(total, 1), completed=done, width=40)
        grid.add_row(title, bar, f"{done}/{total}", note)
    return grid


def _stages(status: Status) -> Table | None:
    kinds = sorted({*status.executed, *status.running, *status.queued})
    if not kinds and not status.awaited:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for column in ("running", "queued", "done"):
        table.add_column(column, justify="right")
    for kind in kinds:
        counts = (counts.get(kind, 0) for counts in (status.running, status.queued, status.executed))
        table.add_row(kind, *map(str, counts))
    if status.awaited:
        # Another run makes these stages, so they are neither queued nor done in this run.
        table.add_row(f"waiting for another run: {status.awaited}")
    return table


def _nodes(status: Status) -> Table | None:
    if not status.nodes:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node")
    for column in ("CPUs", "GPUs", "GB of memory"):
        table.add_column(f"{column} reserved", justify="right")
    shown, others = status.nodes[:MOST_NODES], status.nodes[MOST_NODES:]
    for node in shown:
        table.add_row(f"{node.name}{' (leaving)' * node.is_leaving}", *_uses([node]))
    if others:
        table.add_row(f"{len(others)} more", *_uses(others))
    return table


def _uses(nodes: Sequence[NodeStatus]) -> Iterator[str]:
    yield f"{sum(n.cpus_used for n in nodes):g}/{sum(n.cpus for n in nodes):g}"
    yield f"{sum(n.gpus_used for n in nodes):g}/{sum(n.gpus for n in nodes):g}"
    yield f"{sum(n.memory_used for n in nodes) / GB:.1f}/{sum(n.memory for n in nodes) / GB:.1f}"


def _lines(status: Status, prices: Prices | None) -> Iterator[str]:
    if status.waits_for:
        yield status.waits_for
    for reason, count in status.retries.items():
        yield f"{count} {'stage was' if count == 1 else 'stages were'} run again after {reason}"
    if status.nodes:
        price = prices.of(status.cpu_hours, status.gpu_hours) if prices else None
        money = "" if price is None else f", {price:.2f} at the given prices"
        yield f"held so far: {status.cpu_hours:.2f} CPU hours, {status.gpu_hours:.2f} GPU hours of these nodes{money}"
