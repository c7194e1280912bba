"""A category as a table: `index.csv` (with a header) or `index.json` (a list of objects).

path         the image, relative to the index, inside its folder
split        train, validation or test
label        0 or good, 1 or bad
defect_type  optional: the kind of defect
mask         optional: the mask, relative to the index

Written by hand, by pandas or by Excel: columns are separated by `,`, `;` or tabs, folders by `/` or `\\`, labels may be
`True` or `0.0`, an unnamed column of row numbers is skipped, and so is any other column, which a finding names.
"""

import csv
import io
import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from pydantic import Field, ValidationError

from goodshot.components.config import Config
from goodshot.components.data.layout import Entry, Finding, Listing, duplicates, unmasked
from goodshot.components.data.sample import GOOD, SplitName
from goodshot.components.errors import BadInput

INDEXES = ("index.csv", "index.json")
_LABELS = {"0": 0, "0.0": 0, "false": 0, "good": 0, "1": 1, "1.0": 1, "true": 1, "bad": 1}
_EMPTY = ("nan", "none", "null")
"""How pandas writes a missing value."""


class _Row(Config):
    path: str = Field(min_length=1)
    split: SplitName
    label: Literal["0", "0.0", "false", "good", "1", "1.0", "true", "bad"]
    defect_type: str = ""
    mask: str = ""


def list_index(index: Path) -> Listing:
    """Returns the listing described by the index.

    Raises:
        BadInput: the index cannot be read as such a table, or a path in it leads out of its folder.
    """
    folder = index.parent
    rows, skipped = _rows(index)
    entries, findings = [], []
    if skipped:
        problem = f"has columns that are not read: {', '.join(skipped)}"
        findings.append(Finding("noted", index, problem, f"the columns that are read: {', '.join(_Row.model_fields)}"))
    for number, row in enumerate(rows, start=1):
        entry = _entry(index, number, row)
        findings += _problems(entry, index, number)
        entries.append(entry)
    if not any(e.split == "train" for e in entries):
        findings.append(Finding("missing", index, "no train images", "give at least one row the split train"))
    bad = [e for e in entries if e.label]
    missing = [e.image for e in bad if not e.masks] if any(e.masks for e in bad) else []
    findings += unmasked(dict.fromkeys(missing, f"give it a mask in {index.name}"), len(bad))
    seen: set[Path] = set()
    for entry in entries:
        if entry.image in seen:
            findings.append(Finding("mismatched", entry.image, "is listed twice in the index", f"correct {index}"))
        seen.add(entry.image)
    present = {e.image: e for e in reversed(entries) if e.image.exists() or e.image.is_symlink()}
    found = (*findings, *duplicates(sorted(seen)))
    return Listing(folder, tuple(present.values()), found, has_masks=not missing)


def inside(folder: Path, path: str, where: str) -> Path:
    """Returns `path` below `folder`.

    Raises:
        BadInput: it is absolute, climbs out by `..`, or a link leads out.
    """
    parts = PurePosixPath(path.replace("\\", "/")).parts
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()
    # A file name may hold a backslash, if rarely.
    try:
        found = folder / path if (folder / path).exists() else folder.joinpath(*parts)
        is_inside = found.resolve(strict=False).is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{where}: {path!r} is no path ({error}); correct it") from None
    if absolute or ".." in parts or not is_inside:
        raise BadInput(f"{where}: {path} leads out of {folder}; give paths inside that folder")
    return found


def _entry(index: Path, number: int, row: _Row) -> Entry:
    where = f"{index} row {number}"
    label = _LABELS[row.label]
    image = inside(index.parent, row.path, where)
    masks = (inside(index.parent, row.mask, where),) if row.mask else ()
    return Entry(row.split, (row.defect_type or "bad") if label else GOOD, label, image, masks)


def _problems(entry: Entry, index: Path, number: int) -> list[Finding]:
    found = []
    if not (entry.image.exists() or entry.image.is_symlink()):
        found.append(Finding("missing", entry.image, f"row {number} of {index.name} has no such file", "add the file"))
    if entry.label and entry.split != "test":
        found.append(Finding("mismatched", entry.image, f"is bad and in {entry.split}", f"correct row {number}"))
    if not entry.label and entry.masks:
        found.append(Finding("mismatched", entry.image, "is good and has a mask", f"correct row {number}"))
    return found


def _rows(index: Path) -> tuple[list[_Row], list[str]]:
    """The rows, and the names of the columns that are not read."""
    try:
        data = index.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        rows = json.loads(text) if index.suffix == ".json" else _csv_rows(text)
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{index}: cannot be read as a table ({error}); write it as UTF-8") from error
    if not isinstance(rows, list) or not rows:
        raise BadInput(f"{index}: has no rows; give one an image, with path, split and label")
    values = [_values(index, number, row) for number, row in enumerate(rows, start=1)]
    known = _Row.model_fields
    skipped = dict.fromkeys(name for row in values for name in row if name not in known and not _is_row_number(name))
    read = [{name: value for name, value in row.items() if name in known} for row in values]
    return [_row(index, number, row) for number, row in enumerate(read, start=1)], list(skipped)


def _csv_rows(text: str) -> list[dict[str, Any]]:
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep="):  # Excel's own hint
        return _table(rest, first.rstrip("\r\n")[4:5] or ",")
    unquoted = re.sub('"[^"]*"', "", first)
    return _table(text, max(",;\t", key=unquoted.count))


def _table(text: str, delimiter: str) -> list[dict[str, Any]]:
    """The rows of a CSV text, without empty ones, which Excel adds at the end."""
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise ValueError(f"the column {twice[0]} stands twice")
    return [row for row in reader if any(value.strip() for value in row.values() if isinstance(value, str))]


def _is_row_number(name: str) -> bool:
    return not name or name.startswith("unnamed: ")


def _values(index: Path, number: int, row: Any) -> dict[str, str]:
    """A row's texts by the column's name in lower case."""
    if not isinstance(row, dict):
        raise BadInput(f"{index} row {number}: is no object; give it path, split and label")
    if None in row:
        raise BadInput(f"{index} row {number}: has more values than the header has columns; quote values with a comma")
    texts = {str(name).strip().lower(): "" if value is None else str(value).strip() for name, value in row.items()}
    return {name: "" if text.lower() in _EMPTY else text for name, text in texts.items()}


def _row(index: Path, number: int, values: dict[str, str]) -> _Row:
    lowered = {name: values[name].lower() for name in ("split", "label") if name in values}
    try:
        return _Row.model_validate(values | lowered)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{index} row {number}: {field} {first['msg']}; see the columns in README.md") from error
