"""Change the names of photographs in finished rows to the names of the current run.

Rows are identified by content, so the finished rows of a renamed category remain valid under the new name.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from goodshot.runner.cells import CellStage
from goodshot.runner.cells.base import named_apart
from goodshot.runner.results.compaction import PATIENCE_SECONDS, compact, compacting
from goodshot.runner.results.comparison import Row
from goodshot.runner.results.results import Results

NAMES = ("dataset", "category")
"""The columns of a row that name its photographs and do not belong to its identity."""


def under_planned_names(rows: Mapping[str, Row], planned: Mapping[str, CellStage]) -> dict[str, Row]:
    """Return the rows of the planned cells by fingerprint, with the names that the plan has for their photographs.

    The planned names differ from the stored names if `rename` has kept the names of a row.
    """
    found: dict[str, Row] = {}
    for fingerprint in planned.keys() & rows.keys():
        columns = planned[fingerprint].columns
        found[fingerprint] = {**rows[fingerprint], **{name: columns[name] for name in NAMES}}
    return found


def rename(results: Results, planned: Mapping[str, CellStage]) -> int:
    """Change the ``NAMES`` of finished rows to the planned names; returns how many rows were changed.

    A row keeps its names if another row, from a run with both categories, has the planned names. No row is changed
    while another driver moves rows of the same ``--out``.

    Args:
        planned: cells by fingerprint.
    """
    rows = results.rows(NAMES)
    changed = {}
    for fingerprint in planned.keys() & rows.keys():
        names = {name: planned[fingerprint].columns[name] for name in NAMES}
        is_other = any(rows[fingerprint][name] != names[name] for name in NAMES)
        if is_other and named_apart(planned[fingerprint]).fingerprint not in rows:
            changed[fingerprint] = names
    if not changed:
        return 0

    def renamed(table: pa.Table) -> pa.Table:
        fingerprints = table["fingerprint"].to_pylist()
        for name in NAMES:
            old = table[name].to_pylist()
            new = [changed[f][name] if f in changed else value for f, value in zip(fingerprints, old, strict=True)]
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(new, table.schema.field(at).type))
        return table

    with compacting(results, PATIENCE_SECONDS) as mine:
        if not mine:
            return 0
        compact(results)
        results.parts.change("results", changed, renamed)
    return len(changed)
