"""Cells that both outputs have under one fingerprint, and whose numbers are not the same ones.

A fingerprint stands for everything that decides a cell's numbers, except the device and its kernels. So such a cell was
computed on another device, or with other versions of packages; or one of its files was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from goodshot.components.metrics.declared import columns
from goodshot.runner.differences.outputs import Output
from goodshot.runner.results.comparison import Row

if TYPE_CHECKING:
    import pandas as pd

KEYS = {"metrics": ["subset", "metric"], "scores": ["image_id"]}
VALUES = {"metrics": ["value", "low", "high"], "scores": ["score"]}


@dataclass(frozen=True)
class Contradiction:
    """One cell whose numbers differ.

    first, second: its rows.
    numbers: how many of its numbers differ.
    quantity: the number that differs most, for example ``metrics all/image_ap value``.
    largest: by how much; NaN if it is undefined in one output.
    """

    first: Row
    second: Row
    numbers: int
    quantity: str
    largest: float


def contradictions(first: Output, second: Output) -> list[Contradiction]:
    """Return every cell of both outputs with one fingerprint and different numbers.

    All numbers are compared that both outputs have: the metrics of rows, the table ``metrics`` with its intervals, and
    the scores. Seconds are no result.
    """
    common = [fingerprint for fingerprint in first.rows if fingerprint in second.rows]
    if not common:
        return []
    a, b = (_numbers(output, common) for output in (first, second))
    both = a.merge(b, on=["fingerprint", "quantity"], suffixes=("_first", "_second"))
    values = both["value_first"], both["value_second"]
    both["difference"] = (values[1] - values[0]).abs()
    differing = both[(values[0] != values[1]) & ~(values[0].isna() & values[1].isna())]
    # Undefined in one of them counts as the largest.
    ordered = differing.sort_values("difference", ascending=False, na_position="first", kind="stable")
    found = []
    for fingerprint, own in ordered.groupby("fingerprint", sort=False):
        most = own.iloc[0]
        rows = first.rows[fingerprint], second.rows[fingerprint]
        found.append(Contradiction(*rows, len(own), str(most["quantity"]), float(most["difference"])))
    return found


def _numbers(output: Output, fingerprints: list[str]) -> pd.DataFrame:
    """Return the numbers of some cells as a long frame: fingerprint, quantity, value."""
    import pandas as pd

    return pd.concat([*_melted(output, fingerprints)], ignore_index=True)


def _melted(output: Output, fingerprints: list[str]) -> Iterator[pd.DataFrame]:
    import pandas as pd

    names = [metric.name for metric in columns()]
    rows = pd.DataFrame([{name: output.rows[f].get(name) for name in ("fingerprint", *names)} for f in fingerprints])
    yield rows.melt("fingerprint", var_name="quantity").dropna().astype({"value": float})
    for table, keys in KEYS.items():
        found = output.results.read(table, ["fingerprint", *keys, *VALUES[table]])
        own = found.filter(pc.is_in(found["fingerprint"], pa.array(fingerprints, pa.string()))).to_pandas()
        own["quantity"] = own[keys[0]].str.cat([own[key] for key in keys[1:]], sep="/") if len(own) else ""
        for name in VALUES[table]:
            labelled = own.assign(quantity=table + " " + own["quantity"] + " " + name, value=own[name])
            yield labelled[["fingerprint", "quantity", "value"]]
