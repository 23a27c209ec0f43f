import pytest

from medlsam.cli.shared.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_that_of_the_scans_so_far_and_runs_down() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert (pace.seconds, pace.left(4), pace.words(4)) == (None, None, "")
    pace.begin()
    assert pace.words(4) == ""
    for seconds in (10, 20):
        clock.now += seconds
        pace.end()
    assert pace.seconds == 15
    assert pace.left(4) == 60
    clock.now += 25
    assert pace.left(4) == 35
    assert pace.words(4) == "15.0 s a scan, 0:35 left"
    clock.now += 100
    assert pace.left(4) == 0
    assert pace.words(0) == "15.0 s a scan"


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_several_processes_take_their_share_of_the_time(jobs: int) -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin()
    for _ in range(3):  # each scan takes 40 s, so many end at once
        clock.now += 40
        for _ in range(jobs):
            pace.end()
    assert pace.left(8) == pytest.approx(8 * 40 / jobs)


def test_hours() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin()
    clock.now += 60
    pace.end()
    assert pace.words(125) == "60.0 s a scan, 2:05:00 left"
