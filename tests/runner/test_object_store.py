"""Everything on `s3://`: shards, store, results and a whole study, against a server on the loopback interface.

GOODSHOT_TEST_S3=host:port has the same tests run against another S3 server that knows no other keys than any.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import fs

from goodshot.components.data import read_split
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.cli import main
from goodshot.runner.cluster.broker import Broker, BrokerOptions
from goodshot.runner.cluster.stages import StageMaker
from goodshot.runner.cluster.worker import JobReport
from goodshot.runner.data.sharding import has_shards, read_manifest, shard_samples, verified, write_shards
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.results import read
from goodshot.runner.results.compaction import tidy
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.shard import ShardStage, read_support, read_test
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import Files, below, public
from goodshot.runner.study.study import Study
from tests.data import miniatures
from tests.runner import object_store
from tests.runner.loopback_nodes import add_node, loopback_cluster, started, until, values, workers_of
from tests.runner.object_store import KEY, REFUSED, SECRET

# A shard's upload is under way when the second batch of 32 images is being read.
BLOCKED_CLIENT = """
import sys, time
from goodshot.components.data import shards
from goodshot.runner.cli import main

whole, read = shards._row, []

def blocked(sample, resolution):
    if sample.category == "plate":
        read.append(sample)
    if len(read) > 36:
        print("uploading", flush=True)
        time.sleep(600)
    return whole(sample, resolution)

shards._row = blocked
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a running server."""

    address: str

    def uri(
        self,
        prefix: str,
        *,
        name: str = "parts",
        key: str = KEY,
        secret: str = SECRET,
        address: str | None = None,
        region: str = "region",
    ) -> str:
        options = f"endpoint_override={address or self.address}&scheme=http&{region}=us-east-1"
        return f"s3://{key}:{secret}@{name}/{prefix}?{options}"

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Every object below the prefix; those that only stand for a folder are left out."""
        files = Files(self.uri(prefix))
        return {name: files.read(name) for name in files.names("", recursive=True)}

    def count(self, what: str) -> int:
        with urllib.request.urlopen(f"http://{self.address}/") as answer:
            return int(json.load(answer)[what])


MOTO = """
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
server._thread.join()
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A bucket of moto's server."""
    yield from served_by([sys.executable, "-c", MOTO])


@pytest.fixture(scope="module")
def watched() -> Iterator[Bucket]:
    """A bucket of a server that counts what it serves and refuses what it is told to, which moto does not."""
    yield from served_by([sys.executable, object_store.__file__])


def served_by(command: list[str]) -> Iterator[Bucket]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield made(Bucket(f"127.0.0.1:{server.stdout.readline().strip()}"))
        server.kill()


def made(bucket: Bucket) -> Bucket:
    filesystem, _ = fs.FileSystem.from_uri(bucket.uri("") + "&allow_bucket_creation=true")
    filesystem.create_dir("parts")
    return bucket


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories: a few small photographs, and 40 images of noise that make a shard of 30 MB."""
    root = tmp_path_factory.mktemp("parts")
    miniatures.own(root / "bolt", bad=2)
    (root / "plate/good").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(40):
        noise = Image.fromarray(rng.integers(0, 256, (512, 512, 3), dtype=np.uint8))
        noise.save(root / f"plate/good/{i:02d}.png", compress_level=0)
    return root


def shard(name: str, root: Path, out: str, *more: str) -> int:
    return main(["shard", name, "--root", str(root), "--out", out, *more])


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines printed; no secret is among them."""
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    return [line for line in (captured.out + captured.err).splitlines() if line]


def test_shards_on_s3_are_those_of_a_folder(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = miniatures.btad(tmp_path / "btad"), bucket.uri("btad shards".replace(" ", "%20"))
    assert shard("btad", root, out) == shard("btad", root, str(tmp_path / "out")) == 0
    capsys.readouterr()
    first = bucket.objects("btad%20shards")
    assert shard("btad", root, out) == 0
    assert told(capsys) == [f"{category}: unchanged, 7 images" for category in ("01", "02", "03")]
    assert bucket.objects("btad%20shards") == first
    files, here = read_manifest(out)["categories"], read_manifest(str(tmp_path / "out"))["categories"]
    remote = Files(out)
    for category in ("01", "02", "03"):
        for split in ("train", "test"):
            ours, theirs = here[category]["files"][split], files[category]["files"][split]
            assert remote.read(theirs["path"]) == (tmp_path / "out" / ours["path"]).read_bytes()
            table = read_split(remote.path(theirs["path"]), filesystem=remote.filesystem)
            assert table.equals(read_split(tmp_path / "out" / ours["path"]))
    assert not any(SECRET.encode() in data for data in first.values())


def test_a_study_from_s3_is_the_same_study(
    bucket: Bucket, photographs: Path, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    uri = bucket.uri("demo")
    assert shard("demo", photographs, uri, "--category", "coin") == 0
    direct = plan_studies([tiny_study()], Options(str(tmp_path / "a")))
    plan = plan_studies([tiny_study(dataset={"name": "demo", "root": uri})], Options(bucket.uri("runs/b")))
    assert list(plan.cells) == list(direct.cells)
    (shard_stage,), (there,) = plan.of(ShardStage), direct.of(ShardStage)
    assert shard_stage.source == uri
    store, local = Store(Options(bucket.uri("runs/b")).store_uri), Store(str(tmp_path / "store"))
    LocalExecutor(plan, store).make(shard_stage.id)
    assert any(name.startswith(f"store/{shard_stage.key}/") for name in bucket.objects("runs/b"))
    LocalExecutor(direct, local).make(there.id)
    assert (read_test(store, shard_stage.key, 32).images == read_test(local, there.key, 32).images).all()
    support = next(iter(plan.cells.values())).support
    assert all((a == b).all() for a, b in zip(read_support(support, store), read_support(support, local), strict=True))


def test_store_and_results_on_s3(bucket: Bucket) -> None:
    store = Store(bucket.uri("store"))
    store.put("generator/ab/trace", {"a.json": b"{}", "b.bin": lambda sink: sink.write(b"123")}, {"copies": 2})
    assert store.has("generator/ab/trace")
    assert not store.has("generator/ab/other")
    assert store.parts("generator/ab") == ["trace"]
    assert store.parts("generator/none") == []
    assert store.get("generator/ab/trace").read("b.bin") == b"123"
    with pytest.raises(GoodshotError, match="no artifact generator/none") as caught:
        store.get("generator/none")
    assert SECRET not in str(caught.value)
    results = Results(bucket.uri("results of %C3%BC"))
    assert results.rows() == {}
    results.append("f1", {"fingerprint": "f1", "image_auroc": 0.5}, [], [])
    results.append_failure("f2", "tiny", "coin", "broke", "log")
    assert results.finished() == {"f1"}
    assert results.rows()["f1"]["image_auroc"] == 0.5
    assert results.read("failures").num_rows == 1
    results.forget_failure("f2")
    results.forget_failure("f2")
    assert results.read("failures").num_rows == 0
    results.append("f3", {"fingerprint": "f3", "image_auroc": 0.25}, [], [])
    assert tidy(results) == ""
    frame = read(bucket.uri("results of %C3%BC"), bucket.uri("results of %C3%BC"))
    assert len(frame) == 2 * len(results.finished())
    assert not frame["out"].str.contains(SECRET).any()
    with pytest.raises(BadInput, match="does not exist; give the folder or URI"):
        read(bucket.uri("nothing"))
    assert not results.single.names()
    assert results.finished() == {"f1", "f3"}
    assert results.row("f3", ["image_auroc"]) == {"image_auroc": 0.25}


def test_the_broker_asks_beside_its_event_loop(
    bucket: Bucket, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that takes its time holds up no other cell, no renewal of a lease, and no progress."""
    options = Options(bucket.uri("broker"))
    study = tiny_study(copies=[2, 3], iterations=[2, 4])
    plan = plan_studies([study], Options(str(tmp_path)))
    results, cells = Results(options.out_uri), list(plan.cells)
    elsewhere, broken, mended = cells[:3]
    for fingerprint in (broken, mended):
        results.append_failure(fingerprint, "tiny", "coin", "broke in an earlier run", "log")
    asked: dict[bool, list[str]] = {True: [], False: []}
    reported = Files.reported

    def watched(self: Files, name: str) -> Any:
        asked[_is_event_loop()].append(name)
        return reported(self, name)

    def work(maker: StageMaker, stage: Stage, wanted: list[Stage]) -> JobReport:
        """What a worker's process does, but that nothing is computed."""
        if isinstance(stage, CellStage):
            if stage.fingerprint == broken:
                raise GoodshotError("still broken")
            results.append(stage.fingerprint, {"fingerprint": stage.fingerprint}, [], [])
        for product in wanted:
            maker.store.put(product.key, {}, {})
        return JobReport("this one", outcome={"image_auroc": 1.0} if isinstance(stage, CellStage) else None)

    async def run(maker: StageMaker, stage: Stage, lease: object, wanted: list[Stage]) -> JobReport:
        return await asyncio.to_thread(work, maker, stage, wanted)

    monkeypatch.setattr("goodshot.runner.cluster.stages.ray.put", lambda value: value)
    monkeypatch.setattr(StageMaker, "run", run)
    broker = Broker(BrokerOptions(options.store_uri, results, [{"CPU": 2.0}]))
    # Another driver finishes a cell that this one does not know to be finished.
    results.append(elsewhere, {"fingerprint": elsewhere, "image_auroc": 0.5}, [], [])

    async def whole_run() -> int:
        await broker.learn(plan)
        failed = await broker.run(cells)
        await broker.close()
        return failed

    with monkeypatch.context() as patch:
        patch.setattr(Files, "reported", watched)
        assert asyncio.run(whole_run()) == 1
    assert asked[True] == []
    for what in ("leases/", "finished/", "failures/", "logs/", "image_set/", "prompt/"):
        assert any(what in name for name in asked[False])
    assert broker.outcomes[elsewhere]["image_auroc"] == 0.5
    assert broker.outcomes[mended]["image_auroc"] == 1.0
    assert results.tries() == {broken: 2}
    assert results.finished() == {*cells} - {broken}
    assert not any("leases/" in name for name in bucket.objects("broker"))


def _is_event_loop() -> bool:
    """Whether it is an event loop that waits for the caller."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


def test_rows_that_move_while_they_are_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store looks first and reads then: what was deleted in between is not damaged, and not away."""
    mover = Results(bucket.uri("moving"))
    for name in ("f1", "f2"):
        mover.append(name, {"fingerprint": name}, [], [])
    assert tidy(mover) == ""
    opened, looks = Files.open, []

    def slow(self: Files, name: str) -> Any:
        file = opened(self, name)
        looks.append(name)
        if len(looks) == 1:
            mover.parts.drop("results", {"f2"})
        return file

    monkeypatch.setattr(Files, "open", slow)
    reader = Results(mover.uri)
    assert mover.parts.names("results") == reader.parts.names("results")
    assert reader.finished() == {"f1"}
    assert len(looks) > 1
    read = Files.read
    mover.append("f4", {"fingerprint": "f4"}, [], [])

    def late(self: Files, name: str) -> bytes:
        if name.startswith("finished/"):
            tidy(mover)
        return read(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", late)
        assert reader.rows().keys() == {"f1", "f4"}


def test_an_upload_that_fails_leaves_the_file_of_before(watched: Bucket) -> None:
    files = Files(watched.uri("refused"))
    files.write("manifest.json", b"sound")
    with pytest.raises(GoodshotError, match=r"s3://parts/refused/manifest\.json\S*: .*ACCESS_DENIED"):
        files.write("manifest.json", REFUSED)
    with pytest.raises(GoodshotError, match="ACCESS_DENIED"):
        files.write_stream("fresh.arrow", lambda sink: sink.write(REFUSED))
    assert watched.objects("refused") == {"manifest.json": b"sound"}


def test_the_environment_names_server_and_credentials(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{bucket.address}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    root = miniatures.btad(tmp_path / "btad")
    assert shard("btad", root, "s3://parts/environment?region=us-east-1", "--category", "01") == 0
    assert has_shards(bucket.uri("environment"))


def test_a_killed_upload_leaves_nothing_that_is_read(
    bucket: Bucket, parts: Path, tiny_study: Callable[..., Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = bucket.uri("killed")
    command = ["shard", "folder", "--root", str(parts), "--out", uri]
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED_CLIENT, *command], stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert [client.stdout.readline() for _ in range(2)] == ["bolt: written, 11 images\n", "uploading\n"]
        client.send_signal(signal.SIGKILL)
        assert client.wait() == -signal.SIGKILL
    assert not [name for name in bucket.objects("killed") if name.startswith("plate/")]
    assert list(read_manifest(uri)["categories"]) == ["bolt"]
    study = tiny_study(dataset={"name": "folder", "root": uri}, categories=["plate"], objects={"plate": "plate"})
    with pytest.raises(BadInput, match=r"no such category plate; there are: bolt") as caught:
        plan_studies([study], Options(str(tmp_path / "out")))
    assert SECRET not in str(caught.value)
    assert main(command) == 0
    assert told(capsys)[-2:] == ["bolt: unchanged, 11 images", "plate: written, 40 images"]
    local = str(tmp_path / "local")
    assert shard("folder", parts, local) == 0
    assert shard_samples(uri, "plate") == shard_samples(local, "plate")


def test_a_failure_in_the_middle_of_an_upload_leaves_no_object(bucket: Bucket, parts: Path, tmp_path: Path) -> None:
    report = verified("folder", parts, ["plate"])
    last = max(report.samples, key=lambda sample: sample.image_id).image_path
    sound = last.read_bytes()
    last.write_bytes(sound + b"x")
    try:
        with pytest.raises(BadInput, match="changed since it was scanned"):
            write_shards("folder", report, bucket.uri("failed"))
    finally:
        last.write_bytes(sound)
    assert bucket.objects("failed") == {}
    assert not has_shards(bucket.uri("failed"))


def test_a_few_images_of_a_large_shard_are_all_that_travels(
    watched: Bucket, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goodshot.components.data.shards.BATCH", 2)
    uri = watched.uri("large")
    assert shard("folder", parts, uri, "--category", "plate") == 0
    files, name = Files(uri), read_manifest(uri)["categories"]["plate"]["files"]["train"]["path"]
    whole = files.filesystem.get_file_info(files.path(name)).size

    def served(columns: list[str], image_ids: list[str] | None) -> int:
        before = watched.count("bytes")
        table = read_split(files.path(name), columns, image_ids, filesystem=files.filesystem)
        assert table.num_rows == (40 if image_ids is None else len(image_ids))
        return watched.count("bytes") - before

    three = served(["image"], ["good/07.png", "good/23.png", "good/31.png"])
    labels = served(["image_id", "label"], None)
    print(f"of {whole} bytes, three images read {three}, the labels {labels}")
    assert three < whole / 5
    assert labels < whole / 20


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "nowhere"}, "s3://nowhere/"),
        ({"key": "stranger"}, "AWS Error"),
        pytest.param({"address": closed_port()}, "NETWORK_CONNECTION", marks=pytest.mark.slow),
        ({"secret": "sl/ash"}, "not a folder or URI that can be read"),
        ({"region": "reigon"}, "'reigon'"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line(
    watched: Bucket,
    change: dict[str, str],
    says: str,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = watched.uri("x", **change)
    commands = [
        ["shard", "demo", "--root", str(photographs), "--category", "coin", "--out", uri],
        ["sweep", "demo", "--out", str(tmp_path / "out"), "--set", f"dataset.root={uri}"],
        ["sweep", "demo", "--out", uri],
    ]
    for command in commands:
        assert main(command) in (1, 2)
        (line,) = told(capsys)
        assert line.startswith("goodshot: s3://")
        assert says in line
        assert "; " in line
        assert "--debug" not in line
        assert not any(hidden in line for hidden in (KEY, "stranger", "sl/ash"))


def test_a_uri_without_shards_is_no_folder(bucket: Bucket, tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(dataset={"name": "demo", "root": bucket.uri("empty")})
    with pytest.raises(BadInput, match=r"s3://parts/empty/manifest\.json\S*: does not exist; .*goodshot shard"):
        plan_studies([study], Options(str(tmp_path)))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:secret@bucket/a?region=x", "s3://bucket/a?region=x"),
        ("s3://key:se/cr@et@bucket/a", "s3://bucket/a"),
        ("s3://key@bucket/a", "s3://bucket/a"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("root: 's3://key:secret@bucket/a'\nmail: a@b", "root: 's3://bucket/a'\nmail: a@b"),
        ("/home/a@b/c: d@e", "/home/a@b/c: d@e"),
    ],
)
def test_credentials_are_never_shown(uri: str, shown: str) -> None:
    assert public(uri) == shown


def test_a_uri_keeps_its_options() -> None:
    assert below("s3://b/a/?region=x", "store") == "s3://b/a/store?region=x"
    assert below("/what?", "store") == "/what?/store"


@pytest.mark.slow
def test_a_whole_study_on_s3_and_its_secret_nowhere(
    bucket: Bucket,
    tiny_study: Callable[..., Study],
    photographs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    data, out = bucket.uri("whole/data"), bucket.uri("whole/out")
    assert shard("demo", photographs, data, "--category", "coin") == 0
    (tmp_path / "study.yaml").write_text(json.dumps(tiny_study(copies=[2, 3]).model_dump(mode="json")))
    command = ["sweep", str(tmp_path / "study.yaml"), "--set", f"dataset.root={data}", "--out", out, "--cpus", "2"]
    assert main(command) == 0
    printed = told(capfd)
    assert any("stages executed: " in line and "1 generator" in line for line in printed)
    assert main(command) == 0
    assert any("stages executed: 0 (none)" in line for line in told(capfd))
    assert len(Results(out).rows()) == 5
    for arguments, said in (
        (["status", out], "complete after"),
        (["verify", out], "5 rows agree with their scores"),
        (["compare", out, out, "--strict"], ""),
        (["report", out], "report.html"),
        (["gc", below(out, "store")], ""),
    ):
        assert main(arguments) == 0, arguments
        assert any(said in line for line in told(capfd)), arguments
    objects = bucket.objects("whole")
    assert "out/report.html" in objects
    assert any(name.startswith("out/store/generator/") for name in objects)
    kept = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert not [name for name, data in {**objects, **kept}.items() if SECRET.encode() in data]


@pytest.mark.slow
def test_nodes_that_share_nothing_but_the_bucket(
    bucket: Bucket, tiny_study: Callable[..., Study], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards, artifacts and results of two nodes; the photographs are on neither of them."""
    data, out = bucket.uri("shared/data"), bucket.uri("shared/out")
    assert shard("demo", photographs, data, "--category", "coin") == 0
    study = tiny_study(vq_weight=[0.5, 1.0], dataset={"name": "demo", "root": data})
    (tmp_path / "study.yaml").write_text(json.dumps(study.model_dump(mode="json")))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["sweep", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "here"), "--local"]) == 0
    printed = tmp_path / "printed"
    with loopback_cluster() as cluster, tempfile.TemporaryDirectory(prefix="gs") as folders:
        nodes = [add_node(cluster, 1, temp_dir=f"{folders}/{i}") for i in range(2)]
        cluster.wait_for_nodes(timeout=180)
        command = ["sweep", str(tmp_path / "study.yaml"), "--out", out, "--address", cluster.address]
        with started(command, printed) as process:
            until(lambda: all(workers_of(node, "ray::generator coin") for node in nodes), process)
            assert process.wait(900) == 0, printed.read_text()
    assert SECRET not in printed.read_text()
    assert values(Results(out).rows()) == values(Results(str(tmp_path / "here")).rows())
    for command in (["status", out], ["verify", out], ["compare", out, str(tmp_path / "here"), "--strict"]):
        assert main(command) == 0, command
