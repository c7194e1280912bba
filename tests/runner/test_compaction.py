"""Compaction beside a run: every few seconds, once at its end, and never a reason to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from goodshot.components.errors import GoodshotError
from goodshot.runner.results.compaction import LEASE, Compaction
from goodshot.runner.results.parts import Parts
from goodshot.runner.results.results import Results
from goodshot.runner.store.leases import Leases

Work = Callable[[Results, Compaction], Coroutine[Any, Any, None]]
Beside = Callable[[Work], None]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.fixture
def beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], None]:
    """Run something beside a compaction that comes every few milliseconds."""
    monkeypatch.setattr("goodshot.runner.results.compaction.COMPACT_SECONDS", 0.02)

    def run(work: Work) -> None:
        async def both() -> None:
            results = Results(str(tmp_path))
            compaction = Compaction(results)
            compaction.keep()
            await work(results, compaction)
            await compaction.end()

        asyncio.run(both())

    return run


def cell(results: Results, name: str) -> None:
    results.append(name, {"fingerprint": name}, [], [])


def test_cells_move_while_a_run_goes_on(beside: Beside) -> None:
    async def work(results: Results, compaction: Compaction) -> None:
        for name in ("one", "two"):
            cell(results, name)
            await until(lambda: not results.single.names())
            assert results.has(name)
        compaction.keep()  # again: it has begun
        await compaction.end()
        cell(results, "three")
        await asyncio.sleep(0.1)
        assert [*results.single.names()] == ["three"]
        assert results.finished() == {"one", "two", "three"}

    beside(work)


def test_another_drivers_turn_is_waited_for(beside: Beside, tmp_path: Path) -> None:
    async def work(results: Results, compaction: Compaction) -> None:
        other = Leases(str(tmp_path))
        await until(lambda: other.take(LEASE))
        cell(results, "one")
        await asyncio.sleep(0.1)
        assert [*results.single.names()] == ["one"]
        other.close()
        await until(lambda: not results.single.names())

    beside(work)


@pytest.mark.parametrize("error", [GoodshotError("no space left"), pa.ArrowMemoryError("no memory left")])
def test_what_fails_for_a_moment(beside: Beside, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def work(results: Results, compaction: Compaction) -> None:
        refused: list[str] = []

        def refuse(self: Parts, table: str, size: int, tables: Any) -> None:
            refused.append(table)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Parts, "write", refuse)
            cell(results, "one")
            await until(lambda: len(refused) > 1)
        await until(lambda: not results.single.names())
        assert results.finished() == {"one"}

    beside(work)
