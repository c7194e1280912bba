"""A category's split as one Arrow file: metadata and the files' own bytes, hashed when written and when read.

The bytes are stored unchanged (a PNG gains nothing from a second compression), so that a shard is as
exact as the folder it was made from, and one read replaces thousands of small ones on a shared filesystem.
The format is Arrow's own on disk (IPC, uncompressed): a local shard is memory-mapped and its columns are read
without a copy, a remote one is read by ranges, column by column and batch by batch.

Letters: N images, S their side after resizing.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
from numpy.typing import NDArray
from pyarrow import fs

from goodshot.components.data.images import RGB, decode_mask, decode_rgb, encode_mask, encode_png
from goodshot.components.data.masks import Mask
from goodshot.components.data.sample import MaskFile, Sample, SplitName
from goodshot.components.errors import BadInput
from goodshot.components.heartbeat import beat

BATCH = 32
"""Images in a record batch: a writer holds as many in memory, and a reader of a few images reads at least as many."""

SUFFIX = ".arrow"

# 64-bit offsets, because a split of full-size images exceeds the 2 GiB that `binary` can address.
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
        # The lists of an image's masks have equal lengths. A defect id is null where any marked pixel counts; the
        # share of the defect's area that has to be found is null where it is undefined.
        pa.field("masks", pa.list_(pa.field("element", pa.large_binary(), nullable=False)), nullable=False),
        pa.field("mask_sha256", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
        pa.field("mask_defect_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("mask_saturation", pa.list_(pa.float64()), nullable=False),
        # A hash over the whole row except the files, whose hashes it includes, so that a changed label is detected.
        pa.field("row_sha256", pa.string(), nullable=False),
    ]
)
METADATA = tuple(name for name in SCHEMA.names if name not in ("image", "masks", "row_sha256"))
"""The columns without the files' bytes, which are fast to read."""

_OF_SAMPLE = tuple(name for name in METADATA if not name.startswith("mask_"))


@dataclass(frozen=True)
class Defects:
    """The D defects of N images: `defects[n]` lists those of image n as (mask bool (S, S), saturation).

    `image` (D,) is the image's index, ascending, `ids` (D,) the kind of defect, `saturation` (D,) the share of the
    mask's area that has to be found; `bits` uint8 (D, ⌈S²/8⌉) are the packed masks. They are plain arrays, which
    processes can share without a copy.
    """

    images: int
    size: int
    image: NDArray[np.int64]
    ids: NDArray[np.int64]
    saturation: NDArray[np.float64]
    bits: NDArray[np.uint8]

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, n: int, /) -> list[tuple[Mask, float]]:
        if not 0 <= n < self.images:
            raise IndexError(n)
        return [(self.mask(int(d)), float(self.saturation[d])) for d in np.flatnonzero(self.image == n)]

    def mask(self, d: int) -> Mask:
        """The mask of defect d, bool (S, S)."""
        flat = np.unpackbits(self.bits[d], count=self.size**2)
        return flat.reshape(self.size, self.size).astype(np.bool_)

    def of(self, images: Sequence[int]) -> "Defects":
        """Return the defects of the images with these indices, renumbered in this order."""
        found = [np.flatnonzero(self.image == n) for n in images]
        kept = np.concatenate([*found, np.empty(0, np.int64)]).astype(np.int64)
        image = np.repeat(np.arange(len(found)), [len(each) for each in found])
        return Defects(len(found), self.size, image, self.ids[kept], self.saturation[kept], self.bits[kept])


@dataclass(frozen=True)
class Split:
    """Decoded images: `images` uint8 (N, S, S, 3), `masks` bool (N, S, S), `labels` int64 (N,) of 0 and 1.

    A normal image's mask is False everywhere; several masks of one image are joined. `defects` keeps them separate,
    where the dataset says how much of each defect has to be found.
    """

    image_ids: tuple[str, ...]
    images: RGB
    masks: Mask
    labels: NDArray[np.int64]
    defect_types: tuple[str, ...]
    defects: "Defects | None" = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def of(self, image_ids: Sequence[str]) -> "Split":
        """The images with these ids, in this order. Raises KeyError for an id that is not here."""
        position = {image_id: n for n, image_id in enumerate(self.image_ids)}
        chosen = [position[image_id] for image_id in image_ids]
        return Split(
            tuple(image_ids),
            self.images[chosen],
            self.masks[chosen],
            self.labels[chosen],
            tuple(self.defect_types[n] for n in chosen),
            None if self.defects is None else self.defects.of(chosen),
        )


def write_split(
    samples: Sequence[Sample],
    split: SplitName,
    sink: pa.NativeFile,
    resolution: int | None = None,
    done: Callable[[int], None] = lambda images: None,
) -> list[Sample]:
    """Writes the samples of `split` to `sink`, sorted by id, and returns them as stored.

    With a `resolution`, images and masks are stored as PNG files of that side (see `decode_rgb`, `decode_mask`),
    with the size and hashes of those files. Holds `BATCH` images in memory at a time, and calls `done` with the number
    of images after each batch. The same samples give the same bytes.

    Raises:
        BadInput: there is no sample of that split, or a file was removed or changed since it was scanned.
    """
    chosen = sorted((s for s in samples if s.split == split), key=lambda s: s.image_id)
    if not chosen:
        raise BadInput(f"no {split} images among the {len(samples)} samples; scan the category again")
    stored = []
    with ipc.new_file(sink, SCHEMA) as out:
        for batch in _batches(chosen):
            beat()
            rows = [_row(sample, resolution) for sample in batch]
            out.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            stored += [_sample(row) for row in rows]
            done(len(rows))
    return stored


def read_split(
    path: str | Path,
    columns: Sequence[str] | None = None,
    image_ids: Sequence[str] | None = None,
    *,
    filesystem: fs.FileSystem | None = None,
    verify: bool = True,
) -> pa.Table:
    """Returns the shard's rows as a table with the columns of `SCHEMA` (or the named `columns`).

    `path` is on `filesystem` (default: the local one). A local file is memory-mapped, and the table refers to it. With
    `image_ids`, only those rows are returned, in that order, and only their batches are read. With `verify`, everything
    that is read is hashed again.

    Raises:
        BadInput: the shard is missing or damaged, an id or column is not in it, or an image's bytes changed.
    """
    unknown = sorted({*(columns or ())} - set(SCHEMA.names))
    if unknown:
        raise BadInput(f"{path}: has no column {unknown[0]}; there are: {', '.join(SCHEMA.names)}")
    wanted = list(columns if columns is not None else SCHEMA.names)
    asked = [*dict.fromkeys([*wanted, *(METADATA if verify else ()), *(["row_sha256"] if verify else [])])]
    if filesystem is None or isinstance(filesystem, fs.LocalFileSystem):
        filesystem = fs.LocalFileSystem(use_mmap=True)
    try:
        table = _read(str(path), filesystem, asked, image_ids)
        # The offsets in a damaged file can lead out of it.
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: cannot be read as a shard ({reason}); write it again") from error
    if verify:
        _verify(table, str(path))
    return table.select(wanted)


def samples_of(table: pa.Table) -> list[Sample]:
    """Returns a shard's rows (the `METADATA` columns) as samples, whose `image_path` is the bare image id.

    They have the complete identity of the data: their `category_fingerprint` equals that of the scanned folder, unless
    the folder has unusual files, which a shard stores in the usual form (`Sample.white`, `MaskFile.rule`).
    """
    return [_sample(row) for row in table.select(METADATA).to_pylist()]


def defects_of(table: pa.Table, size: int | None = None) -> Iterator[list[tuple[int | None, Mask]]]:
    """Yields, image by image, its (defect id, mask) pairs in stored order, as a per-region overlap needs them.

    Raises:
        BadInput: a mask cannot be decoded.
    """
    for masks in _masks_of(table):
        yield [(defect_id, decode_mask(data, size, defect_id)) for defect_id, data in masks]


def decode(table: pa.Table, size: int, threads: int = 2) -> Split:
    """Returns the table's images and masks, resized to `size`, decoded by `threads` threads.

    See `images.decode_rgb` and `decode_mask`.

    Raises:
        BadInput: an image or mask cannot be decoded.
    """
    with ThreadPoolExecutor(threads) as pool:
        return _decoding(table, size, pool).result()


def decode_batches(table: pa.Table, size: int, batch: int = BATCH, threads: int = 2) -> Iterator[Split]:
    """Yields the split of `decode` in batches of `batch` images; the next batch is decoded in the background.

    Raises:
        BadInput: an image or mask cannot be decoded.
    """
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[_Decoding] = deque()
        for start in range(0, table.num_rows, batch):
            ahead.append(_decoding(table.slice(start, batch), size, pool))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        yield from (last.result() for last in ahead)


def decode_originals(table: pa.Table, size: int | None = None) -> list[RGB]:
    """Returns the table's images as uint8 (H, W, 3), each in its own size unless `size` is given.

    Raises:
        BadInput: an image cannot be decoded.
    """
    return [decode_rgb(_view(image), size) for image in table["image"]]


@dataclass(frozen=True)
class _Decoding:
    """A split whose pixels are being filled in by threads."""

    split: Split
    rows: list[Future[None]]

    def result(self) -> Split:
        for row in self.rows:
            row.result()
        return self.split


def _decoding(table: pa.Table, size: int, pool: ThreadPoolExecutor) -> _Decoding:
    split = Split(
        image_ids=tuple(table["image_id"].to_pylist()),
        images=np.empty((table.num_rows, size, size, 3), dtype=np.uint8),
        masks=np.zeros((table.num_rows, size, size), dtype=np.bool_),
        labels=np.asarray(table["label"].to_pylist(), dtype=np.int64),
        defect_types=tuple(table["defect_type"].to_pylist()),
        defects=_defects(table, size),
    )
    apart = split.defects

    def fill(row: int, image: memoryview, defects: list[tuple[int | None, memoryview]]) -> None:
        split.images[row] = decode_rgb(image, size)
        for i, (defect_id, data) in enumerate(defects):
            mask = decode_mask(data, size, defect_id)
            split.masks[row] |= mask
            if apart is not None:
                apart.bits[np.searchsorted(apart.image, row) + i] = np.packbits(mask)

    files = zip(table["image"], _masks_of(table), strict=True)
    return _Decoding(split, [pool.submit(fill, row, _view(i), m) for row, (i, m) in enumerate(files)])


def _defects(table: pa.Table, size: int) -> Defects | None:
    """The table's defects with empty masks; None if it has no defect, or one without a saturation."""
    shares = table["mask_saturation"].to_pylist()
    ids = [i for of_image in table["mask_defect_ids"].to_pylist() for i in of_image]
    if not ids or None in ids or any(share is None for of_image in shares for share in of_image):
        return None
    return Defects(
        images=len(shares),
        size=size,
        image=np.repeat(np.arange(len(shares)), [len(of_image) for of_image in shares]),
        ids=np.asarray(ids, np.int64),
        saturation=np.asarray([share for of_image in shares for share in of_image], np.float64),
        bits=np.zeros((len(ids), -(-(size**2) // 8)), np.uint8),
    )


def _masks_of(table: pa.Table) -> Iterator[list[tuple[int | None, memoryview]]]:
    for masks, ids in zip(table["masks"], table["mask_defect_ids"].to_pylist(), strict=True):
        yield [(defect_id, _view(mask)) for defect_id, mask in zip(ids, masks, strict=True)]


def _batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    rest = iter(samples)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _row(sample: Sample, resolution: int | None) -> dict[str, Any]:
    image = _bytes(sample.image_path, sample.sha256)
    masks = [_bytes(m.path, m.sha256) for m in sample.masks]
    sample, image, masks = _as_usual(sample, image, masks)
    if resolution is not None:
        sample, image, masks = _resized(sample, image, masks, resolution)
    row = {
        **{name: getattr(sample, name) for name in _OF_SAMPLE},
        "mask_sha256": [m.sha256 for m in sample.masks],
        "mask_defect_ids": [m.defect_id for m in sample.masks],
        "mask_saturation": [m.saturation for m in sample.masks],
    }
    return {**row, "image": image, "masks": masks, "row_sha256": _seal(row)}


def _as_usual(sample: Sample, image: bytes, masks: list[bytes]) -> tuple[Sample, bytes, list[bytes]]:
    """Stores deep images of a smaller range with 8 bits, and unusual masks as 0 and 255, which every version reads."""
    if sample.white is not None:
        image = encode_png(decode_rgb(image, white=sample.white))
        sample = replace(sample, sha256=hashlib.sha256(image).hexdigest(), white=None)
    files = list(sample.masks)
    for i, (file, data) in enumerate(zip(sample.masks, masks, strict=True)):
        if file.rule is not None or file.orientation is not None:
            masks[i] = encode_mask(decode_mask(data, None, file.defect_id, file.orientation), file.defect_id)
            files[i] = replace(file, sha256=hashlib.sha256(masks[i]).hexdigest(), rule=None, orientation=None)
    return replace(sample, masks=tuple(files)), image, masks


def _resized(sample: Sample, image: bytes, masks: list[bytes], side: int) -> tuple[Sample, bytes, list[bytes]]:
    image = encode_png(decode_rgb(image, side))
    files = list(sample.masks)
    for i, (file, data) in enumerate(zip(sample.masks, masks, strict=True)):
        masks[i] = encode_mask(decode_mask(data, side, file.defect_id), file.defect_id)
        files[i] = replace(file, sha256=hashlib.sha256(masks[i]).hexdigest())
    sha256 = hashlib.sha256(image).hexdigest()
    return replace(sample, width=side, height=side, sha256=sha256, masks=tuple(files)), image, masks


def _seal(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([row[name] for name in METADATA]).encode()).hexdigest()


def _sample(row: dict[str, Any]) -> Sample:
    here = Path(row["image_id"])
    masks = zip(row["mask_sha256"], row["mask_defect_ids"], row["mask_saturation"], strict=True)
    fields = {name: row[name] for name in _OF_SAMPLE}
    return Sample(**fields, image_path=here, masks=tuple(MaskFile(here, *mask) for mask in masks))


def _bytes(path: Path, expected: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: can no longer be read ({error.strerror}); scan the category again") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BadInput(f"{path}: changed since it was scanned; scan the category again")
    return data


def _read(path: str, filesystem: fs.FileSystem, columns: list[str], image_ids: Sequence[str] | None) -> pa.Table:
    # Imported here, because it imports pandas: half a second for every command that opens no shard.
    import pyarrow.dataset as ds

    shard = ds.dataset(path, format="ipc", filesystem=filesystem)
    if not shard.schema.equals(SCHEMA):
        raise BadInput(f"{path}: holds other columns than a shard of this version; write it again")
    if image_ids is None:
        return shard.to_table(columns=columns)
    with filesystem.open_input_file(path) as file:
        return _chosen(file, columns, image_ids, path)


def _chosen(file: pa.NativeFile, columns: list[str], image_ids: Sequence[str], path: str) -> pa.Table:
    """Return the requested rows in the given order. A filter on the dataset would read every batch completely."""
    ids = [batch["image_id"].to_pylist() for batch in _batches_of(file, ["image_id"])]
    where = {image_id: (b, row) for b, batch in enumerate(ids) for row, image_id in enumerate(batch)}
    for image_id in image_ids:
        if image_id not in where:
            raise BadInput(f"{path}: has no image {image_id} (it holds {len(where)}); write the shard again")
    needed = sorted({where[i][0] for i in image_ids})
    schema = pa.schema([SCHEMA.field(name) for name in sorted(columns, key=SCHEMA.get_field_index)])
    table = pa.Table.from_batches(_batches_of(file, columns, needed), schema=schema)
    start = dict(zip(needed, np.cumsum([0, *(len(ids[b]) for b in needed)]), strict=False))
    return table.take(pa.array([start[b] + row for b, row in (where[i] for i in image_ids)], pa.int64()))


def _batches_of(file: pa.NativeFile, columns: list[str], which: Iterable[int] | None = None) -> list[pa.RecordBatch]:
    fields = [SCHEMA.get_field_index(name) for name in columns]
    reader = ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=fields))
    return [reader.get_batch(b) for b in (range(reader.num_record_batches) if which is None else which)]


def _verify(table: pa.Table, path: str) -> None:
    for number, row in enumerate(table.select([*METADATA, "row_sha256"]).to_pylist()):
        if _seal(row) != row["row_sha256"]:
            raise BadInput(f"{path}: row {number}, {row['image_id']}, is damaged; write the shard again")
    if "image" in table.column_names:
        for image_id, data, expected in zip(table["image_id"], table["image"], table["sha256"], strict=True):
            _check(data, expected, f"{path}: the image of {image_id}")
    if "masks" in table.column_names:
        for image_id, masks, hashes in zip(table["image_id"], table["masks"], table["mask_sha256"], strict=True):
            for data, expected in zip(masks, hashes, strict=True):
                _check(data, expected, f"{path}: the mask of {image_id}")


def _check(data: pa.Scalar, expected: pa.Scalar, what: str) -> None:
    if hashlib.sha256(_view(data)).hexdigest() != expected.as_py():
        raise BadInput(f"{what} is damaged; write the shard again")


def _view(data: pa.Scalar) -> memoryview:
    """Return a view of the bytes in the mapped file or in the buffer that was read, without a copy."""
    return memoryview(data.as_buffer()).cast("B")
