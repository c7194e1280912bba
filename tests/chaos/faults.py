"""The kinds of faults, one object each, in one tuple."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.world import World, end, gcs_of, raylet_of

NOT_OF_STAGES = (
    "ray::IDLE",
    "ray::Broker",
    "ray::SweepPoint",
    "ray::DashboardAgent",
    "ray::RuntimeEnv",
)
PAUSED_SECONDS = 4.0
GONE_SECONDS = 3.0
FULL_SECONDS = 4.0


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    name, title: its name on the command line, and in tables.
    strike: does it to a world and returns whether there was something to do it to. ``choice`` in [0, 1) chooses among
        several targets.
    tracked: whether it needs W&B runs.
    mounted: whether the results and artifacts must be on a file system of their own.
    """

    name: str
    title: str
    strike: Callable[[World, float], bool]
    tracked: bool = False
    mounted: bool = False


def _one_of(found: Sequence[psutil.Process], choice: float, number: signal.Signals = signal.SIGKILL) -> bool:
    return bool(found) and end(found[int(choice * len(found))], number)


def _driver(number: signal.Signals) -> Callable[[World, float], bool]:
    def strike(world: World, choice: float) -> bool:
        found = world.running
        return bool(found) and end(found[int(choice * len(found))].process, number)

    return strike


def _worker(*titles: str) -> Callable[[World, float], bool]:
    return lambda world, choice: _one_of(world.workers(*titles), choice)


def _tracker(world: World, choice: float) -> bool:
    """Kill the process beside a driver that writes its W&B runs."""
    found = []
    for driver in world.running:
        with suppress(psutil.Error):
            for child in psutil.Process(driver.process.pid).children():
                if any("tracking.process" in word for word in child.cmdline()):
                    found.append(child)
    return _one_of(found, choice)


def _any_stage(world: World, choice: float) -> bool:
    return _one_of(_stages(world), choice)


def _stages(world: World) -> list[psutil.Process]:
    busy = []
    for process in world.workers("ray::"):
        with suppress(psutil.Error):
            if not " ".join(process.cmdline()).startswith(NOT_OF_STAGES):
                busy.append(process)
    return busy


def _paused(world: World, choice: float) -> bool:
    """Stop a stage's process for some seconds; it comes back and goes on."""
    found = _stages(world)
    if not found or not end(process := found[int(choice * len(found))], signal.SIGSTOP):
        return False
    threading.Timer(PAUSED_SECONDS, lambda: end(process, signal.SIGCONT)).start()
    return True


def _hung(world: World, choice: float) -> bool:
    """Stop a stage's process for ever."""
    return _one_of(_stages(world), choice, signal.SIGSTOP)


def _paused_driver(world: World, choice: float) -> bool:
    found = world.running
    if not found or not end(process := found[int(choice * len(found))].process, signal.SIGSTOP):
        return False
    threading.Timer(PAUSED_SECONDS, lambda: end(process, signal.SIGCONT)).start()
    return True


def _lost_node(world: World, choice: float) -> bool:
    nodes = world.nodes()
    if not nodes:
        return False
    end(raylet_of(nodes[int(choice * len(nodes))]), signal.SIGKILL)
    world.add_nodes(len(nodes))  # as an autoscaler would
    return True


def _left_node(world: World, choice: float) -> bool:
    """Take a node away as an operator does, while another one joins."""
    nodes = world.nodes()
    if not nodes or world.cluster is None:
        return False
    world.add_nodes(len(nodes) + 1)
    world.cluster.remove_node(nodes[int(choice * len(nodes))], allow_graceful=True)
    return True


def _joined_node(world: World, _: float) -> bool:
    if world.cluster is None or not world.has_head:
        return False
    world.add_nodes(len(world.nodes()) + 1)
    return True


def _lost_head(world: World, _: float) -> bool:
    if world.cluster is None or not world.has_head:
        return False
    return end(gcs_of(world.cluster.head_node), signal.SIGKILL)


def _lost_machine(world: World, _: float) -> bool:
    """Kill the head with all processes on its machine but the driver."""
    if world.cluster is None or not world.has_head:
        return False
    for processes in world.cluster.head_node.all_processes.values():
        for each in processes:
            end(each.process, signal.SIGKILL)
    return True


def _vanished(of: Callable[[World], str]) -> Callable[[World, float], bool]:
    """Take a folder away for some seconds, as a mount that is lost."""

    def strike(world: World, _: float) -> bool:
        place = Path(of(world))
        away = place.with_name(f"{place.name}.away")
        try:
            place.rename(away)
        except OSError:
            return False

        def back() -> None:
            if not away.exists():
                return
            # What was written into the gap stays, as on the disk below a lost mount.
            if place.exists():
                shutil.rmtree(place.with_name(f"{place.name}.gap"), ignore_errors=True)
                place.rename(place.with_name(f"{place.name}.gap"))
            away.rename(place)

        timer = threading.Timer(GONE_SECONDS, back)
        timer.start()
        world.undo.callback(timer.join)
        return True

    return strike


def _read_only(world: World, _: float) -> bool:
    if os.geteuid() == 0:
        return False  # root may write all the same
    place = Path(world.store)
    if not place.exists():
        return False
    place.chmod(0o500)
    timer = threading.Timer(GONE_SECONDS, lambda: place.chmod(0o700))
    timer.start()
    world.undo.callback(timer.join)
    return True


def _full_disk(world: World, _: float) -> bool:
    """Fill the file system of the results and artifacts for some seconds."""
    ballast = Path(world.out).parent / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        free = os.statvfs(ballast.parent)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
        while True:
            file.write(bytes(2**16))
    timer = threading.Timer(FULL_SECONDS, lambda: ballast.unlink(missing_ok=True))
    timer.start()
    world.undo.callback(timer.join)
    return True


FAULTS: tuple[Fault, ...] = (
    Fault("kill-driver", "driver killed (SIGKILL)", _driver(signal.SIGKILL)),
    Fault("term-driver", "driver ended (SIGTERM)", _driver(signal.SIGTERM)),
    Fault("int-driver", "driver interrupted (Ctrl-C)", _driver(signal.SIGINT)),
    Fault("pause-driver", f"driver stopped for {PAUSED_SECONDS:g} s", _paused_driver),
    Fault("kill-broker", "broker killed", _worker("ray::Broker")),
    Fault("kill-trial", "process of a Ray Tune trial killed", _worker("ray::SweepPoint")),
    Fault("kill-generator", "process of a generator killed", _worker("ray::generator", "ray::StageActor")),
    Fault("kill-detector", "process of a detection killed", _worker("ray::detection")),
    Fault("kill-stage", "process of any stage killed", _any_stage),
    Fault("pause-stage", f"process of a stage stopped for {PAUSED_SECONDS:g} s", _paused),
    Fault("hang-stage", "process of a stage stopped for ever", _hung),
    Fault("kill-tracker", "process of the W&B tracker killed", _tracker, tracked=True),
    Fault("kill-node", "node lost (raylet killed), another one joins", _lost_node),
    Fault("remove-node", "node taken away, another one joins", _left_node),
    Fault("add-node", "node joins", _joined_node),
    Fault("kill-head", "head lost (GCS killed)", _lost_head),
    Fault("kill-machine", "head's machine lost", _lost_machine),
    Fault("lose-store", f"folder of the artifacts gone for {GONE_SECONDS:g} s", _vanished(lambda world: world.store)),
    Fault("lose-out", f"folder of the results gone for {GONE_SECONDS:g} s", _vanished(lambda world: world.out)),
    Fault("full-disk", f"no space left for {FULL_SECONDS:g} s", _full_disk, mounted=True),
)


def fault_of(name: str) -> Fault:
    """The fault of this name. Raises KeyError."""
    return {fault.name: fault for fault in FAULTS}[name]


def mounted(place: Path, megabytes: int = 1400) -> Any:
    """Mount a file system of its own at a folder; returns whether this user may.

    It is just large enough for a run to begin, which asks for a gigabyte of free space.
    """
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], check=False, capture_output=True
    )
    return done.returncode == 0
