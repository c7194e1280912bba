"""A verified dataset as Parquet shards below one URI, and a study's data read back from them.

`manifest.json` is the only door: shards lie in a folder of their own attempt and count once the manifest names
them, so a killed run leaves nothing that is read. It is written again after every category; one writer at a time.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from components.data.datasets import Report, dataset, verify
from components.data.sample import SPLITS, Sample, category_fingerprint
from components.data.shards import METADATA, read_split, samples_of, write_split
from components.errors import BadInput
from runner.files import Files

MANIFEST = "manifest.json"


def verified(name: str, root: Path, categories: Sequence[str] = ()) -> Report:
    """Verify the categories under a progress bar. Raises :class:`BadInput` if ``root`` or one of them is missing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    listings = dataset(name)
    names = tuple(categories) or listings.categories(root)
    if not names:
        raise BadInput(f"{root}: holds no category folder of {name}; give the folder that does with --root")
    total = sum(len(listings.list_category(root, category).entries) for category in names)
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=total)
        return verify(name, root, names, lambda: bar.advance(task))


def write_shards(name: str, report: Report, out: str, done: Callable[[str], None] = lambda message: None) -> None:
    """Write each split of the report's sound images as one shard; categories unchanged since are left alone.

    Files with a finding are not among them, and the category's entry in the manifest names those.

    Raises:
        BadInput: ``out`` cannot be used, or a category has no sound train images.
    """
    files = Files(out)
    manifest = _manifest_for(name, files)
    for category in dict.fromkeys(s.category for s in report.samples):
        samples = [s for s in report.samples if s.category == category]
        left_out = [str(f) for f in report.findings if f.kind != "unexpected" and category in f.path.parts]
        done(_shard_category(category, samples, left_out, files, manifest))


def has_shards(uri: str) -> bool:
    """Whether ``goodshot shard`` has written there."""
    return ("://" in uri or Path(uri).expanduser().is_dir()) and Files(uri).exists(MANIFEST)


def read_manifest(uri: str) -> dict[str, Any]:
    """The manifest's values. Raises :class:`BadInput` if it cannot be read."""
    try:
        manifest: dict[str, Any] = json.loads(Files(uri).read(MANIFEST))
    except (OSError, ValueError) as error:
        raise BadInput(f"{uri}/{MANIFEST}: cannot be read ({error}); write the shards again") from None
    return manifest


def shard_samples(uri: str, category: str) -> list[Sample]:
    """The category's samples, read from its shards' metadata columns. Raises :class:`BadInput`."""
    known = read_manifest(uri)["categories"]
    if category not in known:
        raise BadInput(f"{uri}: no such category {category}; there are: {', '.join(sorted(known))}")
    files = Files(uri)
    found = _samples(files, known[category]["files"])
    if category_fingerprint(found) != known[category]["fingerprint"]:
        raise BadInput(f"{uri}: the shards of {category} are not those in its manifest; write them again")
    return sorted(found, key=lambda s: s.image_id)


def copy_shard(uri: str, category: str, split: str) -> Callable[[Any], None]:
    """A writer that copies a shard in pieces and raises :class:`BadInput` unless its SHA-256 is the manifest's."""
    entry = read_manifest(uri)["categories"][category]["files"][split]

    def copy(sink: Any) -> None:
        digest = hashlib.sha256()
        with Files(uri).open(entry["path"]) as source:
            while piece := source.read(1 << 22):
                digest.update(piece)
                sink.write(piece)
        if digest.hexdigest() != entry["sha256"]:
            raise BadInput(f"{uri}/{entry['path']}: is damaged (its hash is not the manifest's); write it again")

    return copy


def _manifest_for(name: str, files: Files) -> dict[str, Any]:
    known = dataset(name)
    if not files.exists(MANIFEST):
        files.check_writable()
        return {"dataset": name, "licence": known.licence, "source": known.source, "categories": {}}
    manifest = read_manifest(files.uri)
    if manifest["dataset"] != name:
        raise BadInput(f"{files.uri}: holds shards of {manifest['dataset']}; choose another folder for {name}")
    return manifest


def _shard_category(
    category: str, samples: Sequence[Sample], left_out: list[str], files: Files, manifest: dict[str, Any]
) -> str:
    if not _count(samples, "train"):
        raise BadInput(f"{category}: has no sound train images; correct the findings above")
    fingerprint = category_fingerprint(samples)
    present = manifest["categories"].get(category)
    if present and present["fingerprint"] == fingerprint:
        return f"{category}: unchanged, {len(samples)} images"
    attempt = f"{category}/{fingerprint[:12]}-{uuid.uuid4().hex[:8]}"
    written = {split: _write(samples, split, attempt, files) for split in SPLITS if _count(samples, split)}
    if category_fingerprint(_samples(files, written)) != fingerprint:
        raise BadInput(f"{files.uri}/{attempt}: reads back other than it was written; run the command again")
    manifest["categories"][category] = {
        "fingerprint": fingerprint,
        "files": written,
        "left_out": left_out,
    }
    files.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    return f"{category}: written, {len(samples)} images"


def _write(samples: Sequence[Sample], split: Any, attempt: str, files: Files) -> dict[str, Any]:
    path = f"{attempt}/{split}.parquet"
    digest = files.write_stream(path, lambda sink: write_split(samples, split, sink))
    return {"path": path, "images": _count(samples, split), "sha256": digest}


def _count(samples: Sequence[Sample], split: str) -> int:
    return sum(s.split == split for s in samples)


def _samples(files: Files, entries: Mapping[Any, dict[str, Any]]) -> list[Sample]:
    paths = [files.path(entry["path"]) for entry in entries.values()]
    return [s for path in paths for s in samples_of(read_split(path, METADATA, filesystem=files.filesystem))]
