"""A category's split as one Parquet file: metadata and the files' own bytes, hashed on the way in and out.

The bytes are stored as they are (a PNG gains nothing from a second compression), so that a shard is as
exact as the folder it was made from, and one read replaces thousands of small ones on a shared filesystem.

Letters: N images, S the side they are resized to.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from components.data.images import RGB, Mask, decode_many, decode_mask
from components.data.sample import MaskFile, Sample, SplitName
from components.errors import BadInput

ROW_GROUP = 32
"""Images a row group: what a writer holds in memory, and the least that a reader of a few images reads."""

# 64-bit offsets: a split of full-size images passes the 2 GiB that `binary` can address.
_MASK = pa.struct(
    [
        pa.field("image", pa.large_binary(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("defect_id", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("defect_type", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("image", pa.large_binary(), nullable=False),
        pa.field("masks", pa.list_(pa.field("element", _MASK, nullable=False)), nullable=False),
    ]
)
_PLAIN = tuple(name for name in SCHEMA.names if name not in ("image", "masks"))
METADATA = (*_PLAIN, "masks.list.element.sha256", "masks.list.element.defect_id")
"""The columns without the files' bytes, nested ones by their Parquet path: cheap to read."""


@dataclass(frozen=True)
class Split:
    """Decoded images: `images` uint8 (N, S, S, 3), `masks` bool (N, S, S), `labels` int64 (N,) of 0 and 1.

    A normal image's mask is False everywhere; several masks of one image are joined (`defects_of` keeps them
    apart).
    """

    image_ids: tuple[str, ...]
    images: RGB
    masks: Mask
    labels: NDArray[np.int64]
    defect_types: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_ids)


def write_split(samples: Sequence[Sample], split: SplitName, sink: pa.NativeFile) -> int:
    """Writes the samples of `split` to `sink`, sorted by id, and returns how many there were.

    Holds `ROW_GROUP` images in memory at a time. The same samples give the same bytes.

    Raises:
        BadInput: there is no sample of that split, or a file is gone or changed since it was scanned.
    """
    chosen = sorted((s for s in samples if s.split == split), key=lambda s: s.image_id)
    if not chosen:
        raise BadInput(f"no {split} images among the {len(samples)} samples; scan the category again")
    with pq.ParquetWriter(sink, SCHEMA, compression="NONE", use_dictionary=False, write_statistics=False) as out:
        for batch in _batches(chosen):
            rows = [_row(sample) for sample in batch]
            out.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), row_group_size=ROW_GROUP)
    return len(chosen)


def read_split(
    source: pa.NativeFile | str | Path,
    columns: Sequence[str] | None = None,
    image_ids: Sequence[str] | None = None,
    *,
    filesystem: fs.FileSystem | None = None,
    verify: bool = True,
) -> pa.Table:
    """Returns the shard's rows as a table of `SCHEMA`'s columns (or the `columns` named).

    `source` is an open input file, or a path on `filesystem` (default: the local one). With `image_ids`,
    those rows in that order, and only their row groups are read. With `verify`, the images and masks
    that are read are hashed again.

    Raises:
        BadInput: the shard is missing or damaged, an id or column is not in it, or an image's bytes changed.
    """
    name = str(source) if isinstance(source, str | Path) else "the shard"
    unknown = sorted({_root(c) for c in columns or ()} - set(SCHEMA.names))
    if unknown:
        raise BadInput(f"{name}: has no column {unknown[0]}; there are: {', '.join(SCHEMA.names)}")
    wanted = list(columns if columns is not None else SCHEMA.names)
    hashes = ["sha256"] if verify and "image" in wanted else []
    try:
        with _opened(source, filesystem) as shard:
            table = _read(shard, [*dict.fromkeys([*wanted, *hashes, "image_id"])], image_ids, name)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{name}: cannot be read as a shard ({reason}); write it again") from error
    if verify:
        _verify(table, name)
    return table.select(list(dict.fromkeys(map(_root, wanted))))


def samples_of(table: pa.Table) -> list[Sample]:
    """Returns a shard's rows (the `METADATA` columns) as samples, whose `image_path` is the bare image id.

    They carry all of the data's identity: `category_fingerprint` gives what scanning the folder gave.
    """
    return [_from_row(row) for row in table.select(list(dict.fromkeys(map(_root, METADATA)))).to_pylist()]


def defects_of(table: pa.Table, size: int | None = None) -> Iterator[list[tuple[int | None, Mask]]]:
    """Yields, image by image, its (defect id, mask) pairs in stored order: what a per-region overlap needs.

    Raises:
        BadInput: a mask cannot be decoded.
    """
    for masks in table["masks"]:
        found = [mask.as_py() for mask in masks]
        yield [(m["defect_id"], decode_mask(m["image"], size, m["defect_id"])) for m in found]


def decode(table: pa.Table, size: int, threads: int = 4) -> Split:
    """Returns the table's images and masks, resized to `size`; see `images.decode_rgb` and `decode_mask`.

    Raises:
        BadInput: an image or mask cannot be decoded.
    """
    masks = np.zeros((table.num_rows, size, size), dtype=np.bool_)
    for i, defects in enumerate(defects_of(table, size)):
        for _, mask in defects:
            masks[i] |= mask
    return Split(
        image_ids=tuple(table["image_id"].to_pylist()),
        images=decode_many(table["image"].to_pylist(), size, threads),
        masks=masks,
        labels=np.asarray(table["label"].to_pylist(), dtype=np.int64),
        defect_types=tuple(table["defect_type"].to_pylist()),
    )


def _batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    rest = iter(samples)
    while batch := list(islice(rest, ROW_GROUP)):
        yield batch


def _row(sample: Sample) -> dict[str, Any]:
    row = {name: getattr(sample, name) for name in _PLAIN}
    row["image"] = _bytes(sample.image_path, sample.sha256)
    row["masks"] = [
        {"image": _bytes(m.path, m.sha256), "sha256": m.sha256, "defect_id": m.defect_id} for m in sample.masks
    ]
    return row


def _from_row(row: dict[str, Any]) -> Sample:
    here = Path(row["image_id"])
    masks = tuple(MaskFile(here, mask["sha256"], mask["defect_id"]) for mask in row.pop("masks"))
    return Sample(**row, image_path=here, masks=masks)


def _root(column: str) -> str:
    return column.partition(".")[0]


def _bytes(path: Path, expected: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read any more ({error.strerror}); scan the category again") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BadInput(f"{path}: changed since it was scanned; scan the category again")
    return data


@contextmanager
def _opened(source: pa.NativeFile | str | Path, filesystem: fs.FileSystem | None) -> Iterator[pq.ParquetFile]:
    if not isinstance(source, str | Path):
        yield pq.ParquetFile(source)
        return
    with (filesystem or fs.LocalFileSystem()).open_input_file(str(source)) as file:
        yield pq.ParquetFile(file)


def _read(shard: pq.ParquetFile, columns: list[str], image_ids: Sequence[str] | None, name: str) -> pa.Table:
    if image_ids is None:
        return shard.read(columns=columns)
    groups = [shard.read_row_group(g, columns=["image_id"])["image_id"] for g in range(shard.num_row_groups)]
    where = {image_id: g for g, ids in enumerate(groups) for image_id in ids.to_pylist()}
    for image_id in image_ids:
        if image_id not in where:
            raise BadInput(f"{name}: has no image {image_id} (it holds {len(where)}); write the shard again")
    table = shard.read_row_groups(sorted({where[i] for i in image_ids}), columns=columns)
    row_of = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    return table.take(pa.array([row_of[i] for i in image_ids], pa.int64()))


def _verify(table: pa.Table, name: str) -> None:
    if "image" in table.column_names:
        for image_id, data, expected in zip(table["image_id"], table["image"], table["sha256"], strict=True):
            _check(data, expected, f"{name}: the image of {image_id}")
    if "masks" in table.column_names:
        for image_id, masks in zip(table["image_id"], table["masks"], strict=True):
            for mask in (m for m in masks if "image" in m):
                _check(mask["image"], mask["sha256"], f"{name}: the mask of {image_id}")


def _check(data: pa.Scalar, expected: pa.Scalar, what: str) -> None:
    # A view of the buffer: hashing a shard must not double its memory.
    if hashlib.sha256(data.as_buffer()).hexdigest() != expected.as_py():
        raise BadInput(f"{what} is damaged; write the shard again")
