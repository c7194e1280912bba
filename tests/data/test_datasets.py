"""Readers at their one door, and the report that lists everything wrong, on miniatures in the exact layouts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from goodshot.components.data import (
    SPLITS,
    Sample,
    SplitName,
    category_fingerprint,
    dataset_of,
    decode,
    decode_mask,
    defects_of,
    read_dataset,
    read_defects,
    read_split,
    samples_of,
    verify,
    write_split,
)
from goodshot.components.data.shards import METADATA
from goodshot.components.errors import BadInput
from tests.data import miniatures


def counted(samples: list[Sample]) -> dict[tuple[str, str], int]:
    return dict(Counter((s.split, s.defect_type) for s in samples))


def shard(samples: list[Sample], split: SplitName, folder: Path, resolution: int | None = None) -> Path:
    path = folder / f"{split}.arrow"
    with fs.LocalFileSystem().open_output_stream(str(path)) as sink:
        write_split(samples, split, sink, resolution)
    return path


def test_loco_keeps_every_defect_apart(tmp_path: Path) -> None:
    samples = read_dataset("mvtec_loco", miniatures.loco(tmp_path), "pushpins")
    assert counted(samples) == {
        ("train", "good"): 3,
        ("validation", "good"): 2,
        ("test", "good"): 2,
        ("test", "logical_anomalies"): 2,
        ("test", "structural_anomalies"): 1,
    }
    by_id = {s.image_id: [m.defect_id for m in s.masks] for s in samples if s.label}
    assert by_id["test/structural_anomalies/000.png"] == [254, 254, 100]
    table = read_split(shard(samples, "test", tmp_path))
    apart = dict(zip(table["image_id"].to_pylist(), defects_of(table), strict=True))
    areas = [(value, int(mask.sum())) for value, mask in apart["test/structural_anomalies/000.png"]]
    assert areas == [(254, 40), (254, 40), (100, 100)]
    split = decode(table, miniatures.SIDE)
    assert split.masks[split.image_ids.index("test/structural_anomalies/000.png")].sum() == 180
    assert not split.masks[split.labels == 0].any()


def test_how_much_of_a_defect_must_be_found_holds_at_any_size(tmp_path: Path) -> None:
    samples = read_dataset("mvtec_loco", miniatures.loco(tmp_path), "pushpins")
    test = [s for s in samples if s.split == "test"]
    told = {s.image_id: [m.saturation for m in s.masks] for s in test if s.label}
    # 60 pixels of 100, half of 40; a threshold above the defect's 40 pixels is all of them.
    assert told["test/logical_anomalies/000.png"] == [0.6, 0.5]
    assert told["test/logical_anomalies/001.png"] == [1.0]
    assert told["test/structural_anomalies/000.png"] == [0.5, 0.5, 1.0]
    for resolution, size in ((None, 48), (24, 24), (None, 24)):
        table = read_split(shard(samples, "test", tmp_path, resolution))
        assert {s.image_id: [m.saturation for m in s.masks] for s in samples_of(table) if s.label} == told
        split = decode(table, size)
        assert split.defects is not None
        assert len(split.defects) == len(split) == 5
        for i, (image_id, apart) in enumerate(zip(split.image_ids, defects_of(table, size), strict=True)):
            found = split.defects[i]
            assert [share for _, share in found] == told.get(image_id, [])
            assert all((mask == expected).all() for (mask, _), (_, expected) in zip(found, apart, strict=True))
    # Another threshold is another test set.
    changed = replace(test[0], masks=tuple(replace(m, saturation=0.25) for m in test[-1].masks))
    assert category_fingerprint([changed]) != category_fingerprint([replace(test[0], masks=test[-1].masks)])


def test_a_defect_of_unknown_saturation_gives_no_saturated_overlap(tmp_path: Path) -> None:
    root = miniatures.loco(tmp_path)
    (root / "pushpins/defects_config.json").unlink()
    samples = verify("mvtec_loco", root).samples
    assert {m.saturation for s in samples for m in s.masks} == {None}
    assert decode(read_split(shard(list(samples), "test", tmp_path)), 24).defects is None


def test_a_tiny_defect_must_be_found_by_a_pixel_at_least(tmp_path: Path) -> None:
    root = miniatures.loco(tmp_path)
    miniatures.mask(root / "pushpins/ground_truth/logical_anomalies/001/000.png", (slice(5, 6), slice(0, 1)), 254)
    (sample,) = (s for s in read_dataset("mvtec_loco", root, "pushpins") if s.image_id.endswith("ies/001.png"))
    assert [m.saturation for m in sample.masks] == [1.0]


def test_a_shard_of_several_masks_keeps_its_identity(tmp_path: Path) -> None:
    samples = read_dataset("mvtec_loco", miniatures.loco(tmp_path), "pushpins")
    rows = [read_split(shard(samples, s, tmp_path), METADATA) for s in SPLITS]
    again = [sample for table in rows for sample in samples_of(table)]
    assert category_fingerprint(again) == category_fingerprint(samples)


def test_a_damaged_mask_among_several_is_named(tmp_path: Path) -> None:
    samples = read_dataset("mvtec_loco", miniatures.loco(tmp_path), "pushpins")
    (last,) = (s.masks[2].path for s in samples if len(s.masks) == 3)
    path = shard(samples, "test", tmp_path)
    data, original = bytearray(path.read_bytes()), last.read_bytes()
    data[data.index(original) + len(original) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BadInput, match=r"mask of test/structural_anomalies/000\.png is damaged"):
        read_split(path)


def test_loco_says_when_a_defect_is_found_whole(tmp_path: Path) -> None:
    defects = read_defects(miniatures.loco(tmp_path), "pushpins")
    assert {value: d.saturation_area(100) for value, d in defects.items()} == {255: 60, 254: 50, 100: 100}
    assert defects[255].saturation_area(30) == 30
    config = tmp_path / "pushpins/defects_config.json"
    config.write_text(json.dumps([{**miniatures.DEFECTS[1], "saturation_threshold": 3}]))
    with pytest.raises(BadInput, match=r"defects_config\.json: 0 .*at most 1"):
        read_defects(tmp_path, "pushpins")
    config.unlink()
    with pytest.raises(BadInput, match=r"defects_config\.json: cannot be read"):
        read_dataset("mvtec_loco", tmp_path, "pushpins")


def test_a_value_that_the_configuration_does_not_know_is_named(tmp_path: Path) -> None:
    miniatures.mask(
        miniatures.loco(tmp_path) / "pushpins/ground_truth/logical_anomalies/001/000.png",
        (slice(0, 9), slice(0, 9)),
        77,
    )
    with pytest.raises(BadInput, match=r"001/000\.png: marks its defect with 77"):
        read_dataset("mvtec_loco", tmp_path, "pushpins")


@pytest.mark.parametrize("category", ["01", "02", "03"])
def test_btad_reads_bmp_and_png(category: str, tmp_path: Path) -> None:
    root = miniatures.btad(tmp_path)
    assert dataset_of("btad").list_categories(root) == ("01", "02", "03")
    samples = read_dataset("btad", root, category)
    assert counted(samples) == {("train", "good"): 3, ("test", "good"): 2, ("test", "ko"): 2}
    assert all(len(s.masks) == s.label for s in samples)


def test_good_alone_is_all_to_learn_from(tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "my part")
    assert dataset_of("folder").list_categories(root) == ("my part",)
    assert counted(read_dataset("folder", root, "my part")) == {("train", "good"): 9}


def test_with_bad_a_third_of_the_good_is_held_out_by_content(tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "parts" / "bolt", bad=4, masked=True)
    copy = root / "good" / "copy.png"
    copy.write_bytes((root / "good" / "part 3 – größe.png").read_bytes())
    samples = read_dataset("folder", tmp_path / "parts", "bolt")
    assert Counter((s.split, s.label) for s in samples if s.image_path != copy)["test", 1] == 4
    assert {s.defect_type for s in samples if s.label} == {"bad", "scratch"}
    sides = {side: {s.sha256 for s in samples if s.split == side and not s.label} for side in ("train", "test")}
    assert (len(sides["train"]), len(sides["test"])) == (6, 3)
    assert max(sides["train"]) < min(sides["test"])


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_index_says_it_all(kind: str, tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "bolt", good=3, bad=2, masked=True)
    names = sorted(p.name for p in (root / "good").iterdir())
    rows = [
        *(
            {"path": f"good/{n}", "split": s, "label": 0}
            for n, s in zip(names, ("train", "train", "test"), strict=True)
        ),
        {"path": "bad/1.png", "split": "test", "label": "bad", "defect_type": "dent", "mask": "masks/1.png"},
    ]
    keys = ["path", "split", "label", "defect_type", "mask"]
    lines = [",".join(keys), *(",".join(str(row.get(k, "")) for k in keys) for row in rows)]
    (root / f"index.{kind}").write_text(json.dumps(rows) if kind == "json" else "\n".join(lines))
    samples = read_dataset("folder", tmp_path, "bolt")
    assert counted(samples) == {("train", "good"): 2, ("test", "good"): 1, ("test", "dent"): 1}


@pytest.mark.parametrize("path", ["../outside.png", "/etc/passwd", "good/../../outside.png", "..\\x.png", "out/x.png"])
def test_a_path_that_leads_out_of_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "bolt")
    miniatures.photo(tmp_path / "elsewhere" / "x.png", 0)
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "index.json").write_text(json.dumps([{"path": path, "split": "train", "label": 0}]))
    with pytest.raises(BadInput, match=r"index\.json row 1: .* leads out of"):
        read_dataset("folder", tmp_path, "bolt")


def test_the_report_lists_everything_and_loses_nothing(tmp_path: Path) -> None:
    root = miniatures.btad(tmp_path)
    folder = root / "01"
    (folder / "train/ok/0000.bmp").write_text("not an image")
    truncated = folder / "ground_truth/ko/0000.png"
    truncated.write_bytes(truncated.read_bytes()[:-20])
    (folder / "ground_truth/ko/0001.png").unlink()
    miniatures.mask(folder / "ground_truth/ko/0007.png", (slice(0, 4), slice(0, 4)))
    miniatures.photo(folder / "test/ok/0000.PNG", 3)
    (folder / "test/ok/notes.txt").write_text("x")
    (folder / "train/ok/loop.bmp").symlink_to("loop.bmp")
    (folder / "train/up").symlink_to("..")
    report = verify("btad", root)
    found = {(f.kind, f.path.relative_to(folder).as_posix()) for f in report.findings}
    assert found == {
        ("broken", "train/ok/0000.bmp"),
        ("broken", "ground_truth/ko/0000.png"),
        ("noted", "test/ko/0001.bmp"),
        ("missing", "ground_truth/ko/0007.png"),
        ("unexpected", "test/ok/0000.bmp"),
        ("unexpected", "test/ok/notes.txt"),
        ("broken", "train/ok/loop.bmp"),
        ("unexpected", "train/up"),
    }
    assert all(f.remedy and "\n" not in str(f) for f in report.findings)
    assert counted([s for s in report.samples if s.category == "01"]) == {
        ("train", "good"): 2,
        ("test", "good"): 3,
        ("test", "ko"): 1,
    }
    assert len([s for s in report.samples if s.category != "01"]) == 14


def test_an_empty_category_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "empty/train/good").mkdir(parents=True)
    problems = {f.problem for f in verify("mvtec_ad", tmp_path).findings}
    assert problems == {"no train images", "no test images"}


@pytest.mark.real
def test_the_real_photographs_have_no_findings(shared: Path) -> None:
    report = verify("mvtec_ad", shared / "mvtec_ad_256")
    assert not report.findings
    assert len(report.samples) == 80 + 26 + 141 + 60 + 20 + 63


def test_counts_labels_and_masks_are_anomalibs(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    from anomalib.data.datasets.image.btech import make_btech_dataset
    from anomalib.data.datasets.image.mvtec_loco import make_dataset
    from anomalib.data.utils import read_mask

    with pd.option_context("future.infer_string", False):
        theirs = make_dataset(miniatures.loco(tmp_path / "loco") / "pushpins")
    ours = {str(s.image_path): s for s in read_dataset("mvtec_loco", tmp_path / "loco", "pushpins")}
    assert set(theirs.image_path) == set(ours)
    for row in theirs.itertuples():
        sample = ours[row.image_path]
        assert sample.label == row.label_index
        assert [str(m.path) for m in sample.masks] == (sorted(row.mask_path) if row.mask_path else [])
        for mask in sample.masks:
            marked = decode_mask(mask.path.read_bytes(), defect_id=mask.defect_id)
            np.testing.assert_array_equal(marked, read_mask(mask.path) > 0)
    miniatures.btad(tmp_path / "btad")
    for category in ("01", "02"):
        theirs = make_btech_dataset(tmp_path / "btad" / category)
        samples = read_dataset("btad", tmp_path / "btad", category)
        assert {(s.image_path.as_posix(), s.label) for s in samples} == set(
            zip(theirs.image_path, theirs.label_index, strict=True)
        )
        bad = theirs[theirs.label_index == 1]
        assert {str(s.masks[0].path) for s in samples if s.masks} == set(bad.mask_path)


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (
            "pandas",
            lambda rows: (
                "," + ",".join(rows[0]) + "\n" + "".join(f"{i},{','.join(r.values())}\n" for i, r in enumerate(rows))
            ),
        ),
        (
            "excel",
            lambda rows: "\ufeff" + ";".join(rows[0]) + "\r\n" + "".join(";".join(r.values()) + "\r\n" for r in rows),
        ),
        (
            "excel's hint",
            lambda rows: "sep=;\n" + ";".join(rows[0]) + "\n" + "".join(";".join(r.values()) + "\n" for r in rows),
        ),
        ("tabs", lambda rows: "\t".join(rows[0]) + "\n" + "".join("\t".join(r.values()) + "\n" for r in rows)),
        (
            "capitals",
            lambda rows: (
                ",".join(k.title() for k in rows[0]) + "\n" + "".join(",".join(r.values()) + "\n" for r in rows)
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("labels", [("0", "1"), ("0.0", "1.0"), ("False", "True"), ("Good", "bad")])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_an_index_may_come_from_anywhere(  # type: ignore[no-untyped-def]
    kind: str, write, labels: tuple[str, str], separator: str, tmp_path: Path
) -> None:
    root = miniatures.own(tmp_path / "bolt", good=3, bad=2, masked=True)
    names = sorted(p.name for p in (root / "good").iterdir())
    splits = ("train", "train", "test")
    good = [(f"good/{name}", split, 0, "") for name, split in zip(names, splits, strict=True)]
    paths = [*good, ("bad/1.png", "test", 1, "masks/1.png")]
    rows = [
        {"path": path.replace("/", separator), "split": split, "label": labels[label], "mask": mask}
        for path, split, label, mask in paths
    ]
    (root / "index.csv").write_text(write(rows), encoding="utf-16" if kind == "tabs" else "utf-8")
    report = verify("folder", tmp_path, ["bolt"])
    assert counted(list(report.samples)) == {("train", "good"): 2, ("test", "good"): 1, ("test", "bad"): 1}
    assert not report.findings


def test_a_column_that_is_not_read_is_named(tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "bolt", good=1)
    (name,) = [p.name for p in (root / "good").iterdir()]
    (root / "index.csv").write_text(f"path,split,label,masks\ngood/{name},train,0,x\n")
    (finding,) = verify("folder", tmp_path, ["bolt"]).findings
    assert "has columns that are not read: masks" in str(finding)


@pytest.mark.parametrize("kind", ["good", "scratch"])
def test_a_test_set_of_one_label_is_told(kind: str, tmp_path: Path) -> None:
    for i, place in enumerate(["train/good", f"test/{kind}"]):
        miniatures.photo(tmp_path / "bolt" / place / "0.png", i)
    problems = [f.problem for f in verify("mvtec_ad", tmp_path).findings]
    assert (
        f"has {'normal' if kind == 'good' else 'defective'} test images alone, so that its AUROC is undefined"
        in problems
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("path,split,label,Label\ngood/0.png,train,0,1\n", "the column label stands twice"),
        ("path,split,label\ngood/\x00.png,train,0\n", "is no path"),
        (f"path,split,label\n{'x' * 300}.png,train,0\n", "is no path"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(table: str, says: str, tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "bolt", good=1)
    (root / "index.csv").write_text(table)
    with pytest.raises(BadInput) as caught:
        read_dataset("folder", tmp_path, "bolt")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_excels_empty_rows_and_quoted_headers_are_read(tmp_path: Path) -> None:
    root = miniatures.own(tmp_path / "bolt", good=1)
    (name,) = [p.name for p in (root / "good").iterdir()]
    (root / "index.csv").write_text(f'"path";"split";"label";"a, b, c, d"\ngood/{name};train;0;\n;;;\n;;;\n')
    assert len(read_dataset("folder", tmp_path, "bolt")) == 1
    (root / "index.csv").write_text(f"sep=\t\npath\tsplit\tlabel\ngood/{name}\ttrain\t0\n")
    assert len(read_dataset("folder", tmp_path, "bolt")) == 1


def renamed(folder: Path, spelling: Callable[[str], str]) -> None:
    """Spell the names of all folders below a category in another way."""
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        path.rename(path.with_name(spelling(path.name)))


def nested(folder: Path) -> None:
    """Move what each of the folders holds, and the category too, into a folder of its own name."""
    for path in sorted((p for p in (folder, *folder.rglob("*")) if p.is_dir()), reverse=True):
        inside = path.rename(path.with_name("moved"))
        path.mkdir()
        inside.rename(path / path.name.upper())
        (path / ".DS_Store").write_text("x")
        (path / "readme.txt").write_text("x")


def laid_out(dataset: str, root: Path) -> Path:
    """A miniature of a dataset, with masks for its defects; returns one category."""
    if dataset == "folder":
        return miniatures.own(root / "bolt", bad=4, masked=True)
    if dataset == "mvtec_loco":
        return miniatures.loco(root) / "pushpins"
    if dataset == "btad":
        return miniatures.btad(root) / "02"
    for i, place in enumerate(["train/good", "test/good", "test/scratch"]):
        miniatures.photo(root / "bolt" / place / "0.png", i)
    miniatures.mask(root / "bolt/ground_truth/scratch/0_mask.png", (slice(0, 5), slice(0, 5)))
    return root / "bolt"


@pytest.mark.parametrize("dataset", ["mvtec_ad", "mvtec_loco", "btad", "folder"])
@pytest.mark.parametrize("change", ["capitals", "title", "words", "nested"])
def test_the_case_and_depth_of_folders_change_nothing(dataset: str, change: str, tmp_path: Path) -> None:
    folder = laid_out(dataset, tmp_path)
    category = folder.name
    before = read_dataset(dataset, tmp_path, category)
    spellings: dict[str, Callable[[str], str]] = {
        "capitals": lambda name: "Scratch" if name == "scratch" else name.upper(),
        "title": lambda name: "Scratch" if name == "scratch" else name.title(),
        "words": lambda name: name.replace("ground_truth", "ground truth"),
    }
    if change == "nested":
        nested(folder)
    else:
        renamed(folder, spellings[change])
    report = verify(dataset, tmp_path, [category])
    found = [f for f in report.findings if not f.path.name.startswith(".")]
    assert not found, [str(f) for f in found]
    assert dataset_of(dataset).list_categories(tmp_path)[-1] in (category, "03")

    def told(samples: Iterable[Sample]) -> set[tuple[str, str, int, int]]:
        return {(s.image_id.replace("Scratch", "scratch"), s.split, s.label, len(s.masks)) for s in samples}

    assert told(report.samples) == told(before)
    if change in ("words", "nested"):
        assert category_fingerprint(report.samples) == category_fingerprint(before)


def test_a_root_one_level_too_high_is_looked_through_or_named(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    laid_out("mvtec_ad", root / "Parts")
    assert dataset_of("mvtec_ad").list_categories(root) == ("bolt",)
    assert read_dataset("mvtec_ad", root, "bolt")[0].image_id == "test/good/0.png"
    (root / "other").mkdir()
    for name, category in (("mvtec_ad", "bolt"), ("folder", "nut")):
        miniatures.own(root / "Parts/nut", good=1)
        with pytest.raises(BadInput, match=r"parts: holds no .*; .*/Parts holds some: give that folder"):
            read_dataset(name, root, category)


def test_folders_that_differ_in_case_alone_are_told(tmp_path: Path) -> None:
    folder = laid_out("mvtec_ad", tmp_path)
    for i, place in enumerate(["Train/good", "train/Good", "test/GOOD", "test/Scratch"]):
        miniatures.photo(folder / place / "9.png", 10 + i)
    report = verify("mvtec_ad", tmp_path)
    told = {(f.kind, f.path.relative_to(folder).as_posix()) for f in report.findings}
    assert told == {
        ("unexpected", "Train"),
        ("unexpected", "train/Good"),
        ("unexpected", "test/GOOD"),
        ("noted", "test/scratch"),
        ("noted", "test/Scratch/9.png"),  # it has no mask, and those of the other kind are not its own
    }
    assert {s.image_id: s.label for s in report.samples} == {
        "train/good/0.png": 0,
        "test/good/0.png": 0,
        "test/scratch/0.png": 1,
        "test/Scratch/9.png": 1,
    }


def test_images_below_a_folder_of_images_are_told_with_their_place(tmp_path: Path) -> None:
    folder = laid_out("mvtec_ad", tmp_path)
    for i, place in enumerate(["train/good/good", "test/scratch/scratch"]):
        miniatures.photo(folder / place / "9.png", 10 + i)
    report = verify("mvtec_ad", tmp_path)
    assert [f.kind for f in report.findings] == ["unexpected", "unexpected"]
    assert all(f"is skipped with all its images; move them to {f.path.parent}" in str(f) for f in report.findings)
    assert len(report.samples) == 3
    (folder / "train/good/0.png").unlink()
    miniatures.photo(folder / "train/good/lot 2/0.png", 12)
    with pytest.raises(BadInput, match=r"train/good: no train images; move those in .*/train/good/good there"):
        read_dataset("mvtec_ad", tmp_path, "bolt")


def test_kinds_that_have_the_name_of_their_parent_are_read_as_before(tmp_path: Path) -> None:
    for i, place in enumerate(["train/good", "test/test", "test/test", "test/test"]):
        miniatures.photo(tmp_path / "nut" / place / f"{i}.png", i)
    assert counted(read_dataset("mvtec_ad", tmp_path, "nut"))["test", "test"] == 3
    root = miniatures.own(tmp_path / "own/bolt", good=3)
    miniatures.photo(root / "bad/bad/0.png", 20)
    miniatures.mask(root / "masks/bad/0.png", (slice(0, 5), slice(0, 5)))
    (sample,) = (s for s in read_dataset("folder", root, "bolt") if s.label)
    assert (sample.image_id, sample.defect_type, len(sample.masks)) == ("bad/bad/0.png", "bad", 1)
