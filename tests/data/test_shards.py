from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from goodshot.components.data import (
    Sample,
    SplitName,
    category_fingerprint,
    decode,
    decode_batches,
    decode_mask,
    decode_originals,
    decode_rgb,
    defects_of,
    read_dataset,
    read_split,
    samples_of,
    write_split,
)
from goodshot.components.data.shards import METADATA
from goodshot.components.errors import BadInput


@pytest.fixture(scope="module")
def samples(demo: Path) -> list[Sample]:
    return read_dataset("demo", demo, "coin")


@pytest.fixture
def shard(samples: list[Sample], tmp_path: Path) -> Path:
    return written(samples, "test", tmp_path / "test.arrow")


def written(samples: list[Sample], split: SplitName, path: Path) -> Path:
    with fs.LocalFileSystem().open_output_stream(str(path)) as sink:
        stored = write_split(samples, split, sink)
    assert len(stored) == sum(s.split == split for s in samples)
    return path


def test_round_trip_gives_the_files_bytes(samples: list[Sample], shard: Path) -> None:
    test = [s for s in samples if s.split == "test"]
    rows = read_split(shard).to_pylist()
    assert [row["image_id"] for row in rows] == [s.image_id for s in test]
    for row, sample in zip(rows, test, strict=True):
        assert row["image"] == sample.image_path.read_bytes()
        assert row["masks"] == [m.path.read_bytes() for m in sample.masks]


def test_a_shard_carries_the_datas_identity(samples: list[Sample], shard: Path, tmp_path: Path) -> None:
    train = written(samples, "train", tmp_path / "train.arrow")
    tables = [read_split(path, METADATA) for path in (shard, train)]
    assert category_fingerprint([s for t in tables for s in samples_of(t)]) == category_fingerprint(samples)


def test_the_same_samples_give_the_same_bytes(samples: list[Sample], shard: Path, tmp_path: Path) -> None:
    again = written(samples[::-1], "test", tmp_path / "again.arrow")
    assert again.read_bytes() == shard.read_bytes()


def test_columns_are_read_where_they_are_mapped(shard: Path) -> None:
    before = pa.total_allocated_bytes()
    table = read_split(shard, ["image", "masks"], verify=False)
    assert table.nbytes > 100_000
    # A few bytes of bookkeeping may come, and tables of earlier tests may be freed meanwhile.
    assert pa.total_allocated_bytes() < before + 10_000


def test_chosen_images_come_in_the_order_asked(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goodshot.components.data.shards.BATCH", 3)
    shard = written(samples, "test", tmp_path / "small.arrow")
    wanted = ["test/stain/003.png", "test/foreign/000.png", "test/good/010.png"]
    table = read_split(shard, ["image", "label"], wanted)
    assert table.column_names == ["image", "label"]
    path_of = {s.image_id: s.image_path for s in samples}
    assert table["image"].to_pylist() == [path_of[i].read_bytes() for i in wanted]
    assert read_split(shard, image_ids=[]).num_rows == 0


def test_a_resolution_stores_what_decoding_would_give(samples: list[Sample], tmp_path: Path) -> None:
    path = tmp_path / "test.arrow"
    with fs.LocalFileSystem().open_output_stream(str(path)) as sink:
        stored = write_split(samples, "test", sink, resolution=48)
    small = decode(read_split(path), 48)
    full = decode(read_split(written(samples, "test", tmp_path / "full.arrow")), 48)
    assert (small.images == full.images).all()
    assert (small.masks == full.masks).all()
    assert {(s.width, s.height) for s in samples_of(read_split(path, METADATA))} == {(48, 48)}
    assert category_fingerprint(stored) == category_fingerprint(samples_of(read_split(path, METADATA)))


def test_decoded_arrays_are_the_images(samples: list[Sample], shard: Path) -> None:
    split = decode(read_split(shard), size=48)
    assert split.images.shape == (28, 48, 48, 3)
    assert split.images.dtype == np.uint8
    assert split.masks.shape == (28, 48, 48)
    assert split.masks.dtype == np.bool_
    assert len(split) == 28
    assert split.defects is None
    assert not split.masks[split.labels == 0].any()
    assert split.masks[split.labels == 1].any(axis=(1, 2)).all()
    sample = next(s for s in samples if s.image_id == "test/missing/001.png")
    at = split.image_ids.index(sample.image_id)
    assert split.defect_types[at] == "missing"
    assert (split.images[at] == decode_rgb(sample.image_path.read_bytes(), 48)).all()
    assert (split.masks[at] == decode_mask(sample.masks[0].path.read_bytes(), 48)).all()


def test_batches_are_the_split_in_pieces(shard: Path) -> None:
    table = read_split(shard)
    whole, pieces = decode(table, 48), list(decode_batches(table, 48, batch=12, threads=2))
    assert [len(piece) for piece in pieces] == [12, 12, 4]
    assert (np.concatenate([piece.images for piece in pieces]) == whole.images).all()
    assert (np.concatenate([piece.masks for piece in pieces]) == whole.masks).all()
    assert sum((piece.image_ids for piece in pieces), ()) == whole.image_ids


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_flipped_byte_is_named(samples: list[Sample], shard: Path, kind: str) -> None:
    sample = next(s for s in samples if s.image_id == "test/scratch/001.png")
    path = sample.image_path if kind == "image" else sample.masks[0].path
    data, original = bytearray(shard.read_bytes()), path.read_bytes()
    data[data.index(original) + len(original) // 2] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(BadInput, match=rf"test\.arrow: the {kind} of test/scratch/001\.png is damaged"):
        read_split(shard)
    assert read_split(shard, verify=False).num_rows == 28


def test_whatever_byte_is_flipped_no_value_is_other_than_it_was(samples: list[Sample], shard: Path) -> None:
    sound, before = shard.read_bytes(), read_split(shard).to_pylist()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(sound)
        # Most bytes are pixels; labels, offsets and the footer lie at the ends of batches.
        data[rng.choice([rng.integers(len(data)), rng.integers(4096), -1 - rng.integers(4096)])] ^= 4
        shard.write_bytes(bytes(data))
        try:
            assert read_split(shard).to_pylist() == before
        except BadInput:
            refused += 1
    assert refused > 100


def test_a_file_changed_since_the_scan_is_named(samples: list[Sample], tmp_path: Path) -> None:
    copy = tmp_path / "000.png"
    copy.write_bytes(samples[0].image_path.read_bytes() + b"x")
    with pytest.raises(BadInput, match=r"000\.png: changed since it was scanned"):
        write_split([replace(samples[0], image_path=copy)], samples[0].split, pa.BufferOutputStream())
    copy.unlink()
    with pytest.raises(BadInput, match=r"000\.png: can no longer be read"):
        write_split([replace(samples[0], image_path=copy)], samples[0].split, pa.BufferOutputStream())


def test_bad_requests_are_named(samples: list[Sample], shard: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no image test/good/999\.png"):
        read_split(shard, image_ids=["test/good/999.png"])
    with pytest.raises(BadInput, match="has no column pixels"):
        read_split(shard, columns=["pixels"])
    with pytest.raises(BadInput, match=r"gone\.arrow: cannot be read as a shard"):
        read_split(tmp_path / "gone.arrow")
    with pytest.raises(BadInput, match="no test images among the 16 samples"):
        write_split([s for s in samples if s.split == "train"], "test", pa.BufferOutputStream())
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BadInput, match="cannot be read as a shard"):
        read_split(shard)


REAL = [("mvtec_ad_256", "pill"), ("mvtec_ad_256", "bottle"), (".", "hazelnut_toy")]


@pytest.mark.real
@pytest.mark.parametrize(("root", "category"), REAL)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_shard_holds_what_anomalibs_datamodule_reads(
    shared: Path, root: str, category: str, split: SplitName, tmp_path: Path
) -> None:
    theirs = anomalib_items(shared / root, category, split)
    table = read_split(written(read_dataset("mvtec_ad", shared / root, category), split, tmp_path / "shard.arrow"))
    ids = table["image_id"].to_pylist()
    assert ids == sorted(theirs)
    labels = table["label"].to_pylist()
    for image_id, label, image, masks in zip(ids, labels, decode_originals(table), defects_of(table), strict=True):
        item = theirs[image_id]
        assert label == int(item.gt_label)
        np.testing.assert_array_equal(image, np.rint(item.image.numpy() * 255).transpose(1, 2, 0))
        mask = masks[0][1] if masks else np.zeros(image.shape[:2], dtype=np.bool_)
        their_mask = np.zeros_like(mask) if item.gt_mask is None else item.gt_mask.numpy().astype(bool).squeeze()
        np.testing.assert_array_equal(mask, their_mask, err_msg=image_id)


def anomalib_items(root: Path, category: str, split: str) -> dict[str, Any]:
    """image id → what anomalib's dataset gives, without any transform."""
    from anomalib.data import Folder, MVTecAD

    if category == "hazelnut_toy":
        # Its images are .jpg, which anomalib's MVTecAD does not look for.
        data = Folder(
            name=category,
            root=root / category,
            normal_dir="train/good",
            normal_test_dir="test/good",
            abnormal_dir="test/colour",
            mask_dir="ground_truth/colour",
            val_split_mode="same_as_test",
        )
    else:
        data = MVTecAD(root=root, category=category)
    data.setup()
    items = data.train_data if split == "train" else data.test_data
    found = [items[i] for i in range(len(items))]
    return {Path(item.image_path).relative_to((root / category).resolve()).as_posix(): item for item in found}
