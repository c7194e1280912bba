"""Sentences that describe defective images: those of MVTec Caption, or made from the names of defect types.

    <root>/<category>/prompt/<type>/NNN.txt      one sentence, UTF-8, of the image test/<type>/NNN.*

MVTec Caption (AnomalyXFusion §3) has this layout for MVTec AD and LOCO alike. Its authors state no licence, so the user
has to supply the files; ``root`` may be a separate folder, or the dataset's. A file is matched with the image of its
number by type and stem. Without a file, the sentence is made from the type's name, and is counted as made.

Problems of the files are reported as `Finding`s, of the kinds that the dataset's readers use. A caption without an
image stops the reading if its type has images: the numbers then probably belong to other images, so every sentence of
the type may describe the wrong image. If the dataset has no image of the type at all, the dataset is taken for a part
of the original one, and the finding is only noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data.layout import Finding, folder_in, is_folder, kinds_in, listed, paired
from goodshot.components.data.sample import Sample
from goodshot.components.errors import BadInput

PROMPT = "prompt"


@dataclass(frozen=True)
class Captions:
    """The captions of a category's defective images.

    sentences: image_id → sentence, for every defective image.
    made: the ids whose sentence is made from a type's name.
    findings: notes about the files.
    """

    sentences: Mapping[str, str]
    made: frozenset[str]
    findings: tuple[Finding, ...] = ()


def default_caption(object_name: str, defect_type: str) -> str:
    """Returns "pill with faulty imprint" for ("pill", "faulty_imprint"), in the form of the paper's §4.2."""
    return f"{_words(object_name)} with {_words(defect_type)}"


def read_captions(root: Path | None, category: str, samples: Iterable[Sample], object_name: str) -> Captions:
    """Returns the sentence of each defective sample; without a ``root``, each is made from its type's name.

    samples: all samples of the category; only the defective ones are used. object_name: the word for the product.

    Raises:
        BadInput: the first problem that stops the reading (see `check_captions`), in one line.
    """
    defective = [sample for sample in samples if sample.label]
    findings = () if root is None else check_captions(root, category, defective)
    for finding in findings:
        if finding.stops:
            raise BadInput(str(finding))
    files = {} if root is None else _files(root, category, {sample.defect_type for sample in defective})
    sentences, made = {}, set()
    for sample in defective:
        if (file := files.get(_key(sample))) is not None:
            sentences[sample.image_id] = _sentence(file)
        else:
            sentences[sample.image_id] = default_caption(object_name, sample.defect_type)
            made.add(sample.image_id)
    return Captions(sentences, frozenset(made), findings)


def check_captions(root: Path, category: str, samples: Iterable[Sample]) -> tuple[Finding, ...]:
    """Returns every finding about a category's captions, those that stop the reading first.

    samples: all samples of the category; only the defective ones are used.

    Raises:
        BadInput: ``root`` is missing, or a folder cannot be listed.
    """
    if not is_folder(root):
        raise BadInput(f"{root}: no such folder; give the folder that holds <category>/{PROMPT}, or no captions")
    images = {_key(sample): sample for sample in samples if sample.label}
    types = {kind for kind, _ in images}
    files = _files(root, category, types)
    if not files:
        return (_no_captions(folder_in(root / category, PROMPT)),)
    findings = [*_broken(files), *_without_image(files, types, {*images}), *_missing(files, images)]
    findings += _strays(folder_in(root / category, PROMPT))
    return tuple(sorted(findings, key=lambda finding: not finding.stops))


Key = tuple[str, str]
"""The key of a caption: the defect type, and the stem of the file."""


def _files(root: Path, category: str, types: set[str]) -> dict[Key, Path]:
    folders = kinds_in(folder_in(root / category, PROMPT))
    of_types = {kind: folder for kind, folder in folders.items() if kind not in types} | paired(types, folders)
    return {
        (kind, path.stem): path
        for kind, folder in sorted(of_types.items())
        for path in listed(folder)
        if path.suffix.lower() == ".txt"
    }


def _key(sample: Sample) -> Key:
    return sample.defect_type, Path(sample.image_id).stem


def _sentence(path: Path) -> str:
    """Return the only sentence in a file. Raises ValueError with the problem and a remedy."""
    try:
        lines = [line.strip() for line in path.read_bytes().decode("utf-8-sig").strip().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError("the caption is not UTF-8; store it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}); check its permissions") from error
    if not lines:
        raise ValueError("the caption is empty; write one sentence, or remove the file")
    if len(lines) > 1:
        raise ValueError(f"the caption has {len(lines)} lines; write one sentence in one line")
    return lines[0]


def _broken(files: Mapping[Key, Path]) -> Iterable[Finding]:
    for path in files.values():
        try:
            _sentence(path)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            yield Finding("broken", path, problem, remedy)


def _without_image(files: Mapping[Key, Path], types: set[str], images: set[Key]) -> Iterable[Finding]:
    absent: dict[Path, int] = {}
    for (kind, stem), path in files.items():
        if kind not in types:
            absent[path.parent] = absent.get(path.parent, 0) + 1
        elif (kind, stem) not in images:
            remedy = "remove it, or check that the captions are those of this dataset's images"
            yield Finding("missing", path, f"caption of a missing image: there is no test/{kind}/{stem}.*", remedy)
    for folder, count in absent.items():
        problem = f"{count} captions of a defect type without images are not used"
        yield Finding("noted", folder, problem, "rename the folder if its type has another name here")


def _missing(files: Mapping[Key, Path], images: Mapping[Key, Sample]) -> Iterable[Finding]:
    for (kind, stem), sample in images.items():
        if (kind, stem) not in files:
            problem = f"has no caption: it is described by its type's name ({_words(kind)})"
            yield Finding("noted", sample.image_path, problem, f"write {PROMPT}/{kind}/{stem}.txt")


def _no_captions(folder: Path) -> Finding:
    return Finding("noted", folder, "holds no caption: images are described by their types' names", "add captions")


def _strays(folder: Path) -> Iterable[Finding]:
    for path in [p for kind in kinds_in(folder).values() for p in listed(kind)]:
        if path.suffix.lower() != ".txt":
            yield Finding("unexpected", path, "is no caption (.txt) and is skipped", "remove it")


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())
