"""Stages that stand still are told from those that are slow, by the pulses of their processes."""

from __future__ import annotations

import os
import time

import numpy as np

from goodshot.components.detectors import DetectorConfig, build_detector
from goodshot.components.heartbeat import beat, heard
from goodshot.runner.cluster import silence
from goodshot.runner.cluster.elastic import REFRESH_SECONDS
from goodshot.runner.cluster.silence import PULSE_SECONDS, Pulse, Silence, pulsing
from goodshot.runner.store.processes import started_at

LIMIT = 60.0


class Clock:
    """The seconds of a test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def standing_after(has_turned: dict[float, bool], until: float) -> tuple[list[float], Silence]:
    """When a job counts as standing still that sends pulses at these seconds, if it is looked for as in a run."""
    clock = Clock()
    jobs, found = Silence(clock), []
    jobs.expect("job", LIMIT)
    while clock.now <= until:
        if clock.now in has_turned:
            jobs.heard(Pulse("job", "node", 1, "0", has_turned[clock.now]))
        found += [clock.now for _ in jobs.standing()]
        clock.now += 1.0
    return found, jobs


def test_a_process_that_is_silent_for_too_long_stands_still_until_its_job_has_ended() -> None:
    found, jobs = standing_after({0.0: False, 5.0: False}, until=130)
    assert found == [66.0, 127.0]
    assert jobs.ended("job") == 61.0
    assert jobs.ended("job") is None


def test_a_process_that_lives_may_be_slow_and_one_whose_loops_turned_may_not() -> None:
    pulses = {second * PULSE_SECONDS: False for second in range(60)}
    assert standing_after(pulses, until=290)[0] == []
    found, jobs = standing_after({**pulses, 50.0: True}, until=290)
    assert found == [111.0]
    assert jobs.ended("job") == 61.0


def test_whoever_has_slept_itself_judges_nobody() -> None:
    clock = Clock()
    jobs = Silence(clock)
    jobs.expect("job", LIMIT)
    jobs.heard(Pulse("job", "node", 1, "0", True))
    assert jobs.standing() == []
    clock.now = 1000.0
    assert jobs.standing() == []
    assert REFRESH_SECONDS < silence.LATE_SECONDS < LIMIT
    for clock.now in range(1001, 1061):
        assert jobs.standing() == []
    clock.now = 1061.0
    assert [pulse.ticket for pulse in jobs.standing()] == ["job"]


def test_without_a_limit_and_after_its_end_no_job_stands_still() -> None:
    clock = Clock()
    jobs = Silence(clock)
    jobs.expect("for ever", 0)
    jobs.expect("ended", LIMIT)
    for ticket in ("for ever", "ended", "never expected"):
        jobs.heard(Pulse(ticket, "node", 1, "0", True))
    assert jobs.ended("ended") is None
    for clock.now in range(500):
        assert jobs.standing() == []


def test_a_process_sends_pulses_and_says_whether_its_loops_turn() -> None:
    sent: list[Pulse] = []
    with pulsing("job", "node", sent.append):
        assert [(pulse.pid, pulse.has_turned) for pulse in sent] == [(os.getpid(), False)]
        assert sent[0].started == started_at(os.getpid()) != ""
        beat()
        until = time.monotonic() + 4 * PULSE_SECONDS
        while len(sent) < 2 and time.monotonic() < until:
            time.sleep(0.1)
    assert sent[1].has_turned
    assert [pulse.has_ended for pulse in sent] == [False, False, True]
    beat()
    assert len(sent) == 3


def test_a_detector_gives_signs_of_life() -> None:
    beats: list[None] = []
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    detector = build_detector(DetectorConfig(image_size=64), seed=0)
    with heard(lambda: beats.append(None)):
        detector.fit(images)
        fitted = len(beats)
        detector.score(images)
    assert fitted >= 3
    assert len(beats) - fitted >= 3
