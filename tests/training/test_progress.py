"""What a training says: a line before each wait, an estimate, plain lines, a bar of 80 columns."""

import io

import pytest

from diffmask_jax.runtime.memory import GIB, most_taken
from diffmask_jax.training import progress
from diffmask_jax.training.progress import Progress

NUMBERS = {"masked": 0.3125, "divergence": 0.1034, "agreement": 0.934, "multiplier": 1.94}


class Clock:
    """A clock that moves when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def call(told, clock, step, seconds):
    clock.now += seconds
    told.advance(step, NUMBERS)


def test_plain_lines_every_few_seconds_and_an_estimate_after_three_calls(clock, capsys):
    """Calls of 4 steps in 2 seconds; what compiles, or waits for a validation, is not timed."""
    with Progress(400, 0, 0.1, True, clock) as told:
        told.compiling("the steps")
        call(told, clock, 4, 100)
        for step in (8, 12, 16, 20):
            call(told, clock, step, 2)
        told.paused()
        call(told, clock, 24, 1000)
        for step in range(28, 56, 4):
            call(told, clock, step, 2)
    lines = capsys.readouterr().err.splitlines()
    memory = lines[3].rpartition("; ")[2]
    assert lines == [
        progress.MEANING,
        "compiling the steps",
        "step 4 of 400: masked 31.2%, D 0.103, agree 93%, λ 1.9 (margin 0.1)",
        f"500 ms per step, at most 3 min to go; {memory}",
        "step 24 of 400: masked 31.2%, D 0.103, agree 93%, λ 1.9 (margin 0.1); 3 min to go",
        "step 44 of 400: masked 31.2%, D 0.103, agree 93%, λ 1.9 (margin 0.1); 3 min to go",
    ]
    assert memory.endswith(" GiB of memory so far") and float(memory.split()[0]) == pytest.approx(
        most_taken() / GIB, rel=0.5
    )


def test_a_caution_is_told_once_and_only_by_the_process_that_speaks(clock, capsys):
    with Progress(8, 0, 0.1, True, clock) as told, Progress(8, 0, 0.1, False, clock) as silent:
        for one in (told, silent, told):
            one.caution(["a", "b"])
            call(one, clock, 4, 100)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "warning" in line] == ["warning: a", "warning: b"]
    assert len(lines) == 5


@pytest.mark.parametrize("steps", [80, 8000, 1_000_000])
def test_the_bar_fits_80_columns_with_the_longest_of_numbers(steps, clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    drawn, real = Terminal(), progress.tqdm
    monkeypatch.setattr(
        progress, "tqdm", lambda **more: real(**more, file=drawn, ncols=80, mininterval=0)
    )
    with Progress(steps, 0, 0.1, True, clock) as told:
        for step in range(4, 44, 4):
            clock.now += 20000.0
            told.advance(step, NUMBERS | {"masked": 1.0, "agreement": 1.0, "multiplier": 200.0})
    *_, last = [line for line in drawn.getvalue().replace("\n", "\r").split("\r") if line.strip()]
    assert len(last.rstrip()) <= 80
    assert f"40/{steps}" in last and " h left, masked 100.0%, D 0.103" in last


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "40 ms"), (1.26, "1.3 s"), (59.7, "60 s"), (89.0, "89 s"), (100.0, "2 min"),
        (5000.0, "83 min"), (12000.0, "3 h 20 min"),
    ],
)  # fmt: skip
def test_times_are_as_exact_as_estimates_are(seconds, words):
    assert progress._time(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.3, "0 s"), (89.0, "89 s"), (100.0, "2 min"), (12000.0, "3:20 h")]
)
def test_a_bar_has_room_for_a_time(seconds, words):
    assert progress._brief_time(seconds) == words
