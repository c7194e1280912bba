"""Artifacts: visible whole or not at all; damage is named."""

from pathlib import Path

import numpy as np
import pytest

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.store.files import Files


def test_round_trip(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    store.put("image_set/ab", {"images.safetensors": arrays_bytes({"images": images})}, {"copies": 2})
    artifact = store.get("image_set/ab")
    np.testing.assert_array_equal(artifact.arrays("images.safetensors")["images"], images)
    assert artifact.info["copies"] == 2


def test_without_its_commit_an_artifact_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri())
    store.put("generator/ab/trace", {"a.json": b"{}"}, {})
    (tmp_path / "generator/ab/trace/commit.json").rename(tmp_path / "kept")
    assert not store.has("generator/ab/trace")
    assert store.parts("generator/ab") == []
    with pytest.raises(GoodshotError, match="no artifact generator/ab/trace"):
        store.get("generator/ab/trace")
    (tmp_path / "kept").rename(tmp_path / "generator/ab/trace/commit.json")
    assert store.parts("generator/ab") == ["trace"]


def test_a_flipped_byte_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("maps/ab", {"maps.bin": b"12345"}, {})
    (path,) = tmp_path.glob("maps/ab/*/maps.bin")
    path.write_bytes(b"12346")
    with pytest.raises(GoodshotError, match=r"maps\.bin: bytes differ"):
        store.get("maps/ab").read("maps.bin")


def test_a_second_writer_does_no_harm(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = store.put("prompt/ab", {"ranking.json": b"{}"}, {})
    store.put("prompt/ab", {"ranking.json": b"{}"}, {})
    assert first.read("ranking.json") == store.get("prompt/ab").read("ranking.json")


def test_temporary_files_are_never_listed(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    files.write("results/a.parquet", b"x")
    (tmp_path / "results/b.parquet.tmp-123").write_bytes(b"half")
    assert files.names("results", ".parquet") == ["results/a.parquet"]


def test_unwritable_and_unknown_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BadInput, match="cannot be written"):
        Files(str(tmp_path / "file" / "out")).check_writable()
    with pytest.raises(BadInput, match="gopher"):
        Files("gopher://somewhere/out")
