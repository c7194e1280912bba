"""Find cells that have the same fingerprint in both outputs but different numbers.

A fingerprint covers everything that determines a cell's numbers, except the device, its kernels and the versions of
packages. If the numbers differ, one of these differs, or one of the files was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
AT_ONCE = 5000
"""Number of cells that are compared at once, because all scores of a large study would take gigabytes of memory."""


@dataclass(frozen=True)
class Contradiction:
    """One cell whose numbers differ.

    first, second: the rows of the cell in the two outputs.
    numbers: how many numbers of the cell differ.
    quantity: the name of the number that differs most, for example ``metrics all/image_ap value``.
    largest: the difference of this number; NaN if the number is undefined in one output.
    """

    first: Row
    second: Row
    numbers: int
    quantity: str
    largest: float


def contradictions(first: Output, second: Output) -> list[Contradiction]:
    """Return every cell that has the same fingerprint in both outputs but different numbers.

    All numbers that both outputs have are compared: the metrics of rows, the table ``metrics`` with its intervals, and
    the scores. Durations are not compared.
    """
    common = [fingerprint for fingerprint in first.rows if fingerprint in second.rows]
    if not common:
        return []
    tables = _tables(first), _tables(second)
    found: list[Contradiction] = []
    for start in range(0, len(common), AT_ONCE):
        some = common[start : start + AT_ONCE]
        frames = (_numbers(output, own, some) for output, own in zip((first, second), tables, strict=True))
        found += _differing(first, second, *frames)
    return found


def _differing(first: Output, second: Output, a: pd.DataFrame, b: pd.DataFrame) -> Iterator[Contradiction]:
    both = a.merge(b, on=["fingerprint", "quantity"], suffixes=("_first", "_second"))
    one, other = both["value_first"], both["value_second"]
    both["difference"] = (other - one).abs()
    differing = both[(one != other) & ~(one.isna() & other.isna())]
    # A number that is undefined in one output comes first.
    ordered = differing.sort_values("difference", ascending=False, na_position="first", kind="stable")
    for fingerprint, own in ordered.groupby("fingerprint", sort=False):
        most = own.iloc[0]
        rows = first.rows[fingerprint], second.rows[fingerprint]
        yield Contradiction(*rows, len(own), str(most["quantity"]), float(most["difference"]))


def _tables(output: Output) -> dict[str, pa.Table]:
    return {name: output.results.read(name, ["fingerprint", *KEYS[name], *VALUES[name]]) for name in KEYS}


def _numbers(output: Output, tables: Mapping[str, pa.Table], fingerprints: list[str]) -> pd.DataFrame:
    """Return the numbers of some cells as a long frame: fingerprint, quantity, value."""
    import pandas as pd

    names = [metric.name for metric in columns()]
    rows = pd.DataFrame([{name: output.rows[f].get(name) for name in ("fingerprint", *names)} for f in fingerprints])
    found = [rows.melt("fingerprint", var_name="quantity").dropna().astype({"value": float})]
    for table, keys in KEYS.items():
        is_wanted = pc.is_in(tables[table]["fingerprint"], pa.array(fingerprints, pa.string()))
        own = tables[table].filter(is_wanted).to_pandas()
        quantity = own[keys[0]].str.cat([own[key] for key in keys[1:]], sep="/") if len(own) else ""
        for name in VALUES[table]:
            labelled = own.assign(quantity=f"{table} " + quantity + f" {name}", value=own[name])
            found.append(labelled[["fingerprint", "quantity", "value"]])
    return pd.concat(found, ignore_index=True)
