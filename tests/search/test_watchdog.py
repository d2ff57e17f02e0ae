"""Who is silent for too long, in a time that the tests make pass."""

import pytest

from dexsearch.search.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watchdog that is asked every second, as a backend does."""

    def __init__(self, least_s: float) -> None:
        self.clock = Clock()
        self.dog = Watchdog(least_s, self.clock)
        self.alarms: list[tuple[float, int]] = []

    def wait(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + 1.0)
            self.alarms += [(self.clock.now, silence.number) for silence in self.dog.silent()]

    def epochs(self, number: int, n: int, epoch_s: float) -> None:
        for _ in range(n):
            self.wait(epoch_s)
            self.dog.heard(number, 1)


def test_a_trial_that_stops_reporting_is_named_once_after_ten_of_its_epochs() -> None:
    watched = Watched(60)
    watched.dog.begin(7)
    watched.epochs(7, 5, 20)
    assert watched.alarms == []
    watched.wait(1000)
    assert watched.alarms == [(5 * 20 + 201, 7)]
    assert 7 not in watched.dog


def test_short_epochs_leave_the_least_silence() -> None:
    watched = Watched(60)
    watched.dog.begin(1)
    watched.epochs(1, 5, 1)
    watched.wait(100)
    assert watched.alarms == [(5 + 61, 1)]


def test_several_epochs_in_a_report_are_that_many_epochs() -> None:
    watched = Watched(60)
    watched.dog.begin(1)
    for _ in range(5):
        watched.wait(40)
        watched.dog.heard(1, 10)
    watched.wait(100)
    assert watched.alarms == [(200 + 61, 1)], "epochs take 4 s, so 60 s count"


def test_epochs_of_an_earlier_process_say_nothing_about_the_pace() -> None:
    watched = Watched(60)
    watched.dog.begin(1)
    for _ in range(9):
        watched.wait(50)
        watched.dog.heard(1, 0)
    watched.dog.end(1)
    watched.dog.begin(2)
    watched.epochs(2, 3, 1)
    watched.wait(100)
    assert watched.alarms == [(9 * 50 + 3 + 61, 2)]


def test_before_its_first_report_a_trial_has_ten_times_as_long() -> None:
    watched = Watched(60)
    watched.dog.begin(1)
    watched.wait(599)
    assert watched.alarms == []
    watched.wait(10)
    assert watched.alarms == [(601, 1)]


def test_a_slow_first_epoch_of_others_is_known_of_the_next_trial() -> None:
    watched = Watched(60)
    for number in range(3):
        watched.dog.begin(number)
        watched.wait(200)
        watched.dog.heard(number, 1)
        watched.dog.end(number)
    watched.dog.begin(9)
    watched.wait(1999)
    assert watched.alarms == []


def test_a_large_trial_among_small_ones_may_be_as_slow_as_it_is() -> None:
    watched = Watched(60)
    watched.dog.begin(0)
    watched.epochs(0, 20, 1)
    watched.dog.end(0)
    watched.dog.begin(1)
    watched.wait(300)
    watched.dog.heard(1, 1)
    watched.wait(55)
    watched.dog.heard(1, 1)
    watched.wait(300)
    assert watched.alarms == [], "its own epochs took 55 s"


def test_after_an_alarm_a_trial_may_be_silent_twice_as_long() -> None:
    watched = Watched(60)
    for begun in (0, 1000):
        watched.wait(begun - watched.clock.now)
        watched.dog.begin(1)
        watched.dog.heard(1, 1)
        watched.wait(200)
    assert watched.alarms == [(61, 1), (1121, 1)]


def test_time_in_which_nobody_could_hear_does_not_count() -> None:
    watched = Watched(60)
    watched.dog.begin(1)
    watched.dog.heard(1, 1)
    watched.wait(30)
    watched.clock.now += 3600  # the driver waited for its disk
    watched.wait(29)
    assert watched.alarms == []


@pytest.mark.parametrize("least_s", [0.0])
def test_without_a_limit_nobody_is_named(least_s: float) -> None:
    watched = Watched(least_s)
    watched.dog.begin(1)
    watched.wait(5000)
    assert watched.alarms == []


@pytest.mark.parametrize("first", ["heard", "begin"])
def test_who_reports_first_after_the_driver_was_away_has_not_trained_that_long(first: str) -> None:
    """A report that lay in the queue for an hour is of an epoch of seconds."""
    watched = Watched(60)
    watched.dog.begin(1)
    watched.epochs(1, 5, 2)
    watched.clock.now += 3600
    if first == "heard":
        watched.dog.heard(1, 1)
    else:
        watched.dog.begin(1)
        watched.dog.heard(1, 1)
    since = watched.clock.now
    watched.wait(1000)
    assert [number for _, number in watched.alarms] == [1]
    assert 60 < watched.alarms[0][0] - since < 65


def test_one_trial_that_waited_makes_no_other_one_wait() -> None:
    watched = Watched(60)
    for number in range(20):
        watched.dog.begin(number)
    watched.wait(2)
    watched.clock.now += 3600
    for number in range(20):
        watched.dog.heard(number, 1)
        watched.dog.heard(number, 1)
    watched.dog.begin(99)
    watched.wait(601)
    assert 99 in [number for _, number in watched.alarms]
