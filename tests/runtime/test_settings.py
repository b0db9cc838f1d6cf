"""Settings are checked wherever they come from, and kept as the plain types that JSON has."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.settings import positive, positive_int, setting


@dataclasses.dataclass(frozen=True)
class Baking:
    """What a test bakes."""

    loaves: int = setting(1, "how many", check=positive_int)
    hours: float = setting(0.5, "how long", check=positive)
    is_sweet: bool = setting(False, "with sugar")
    flour: str = setting("rye", "of what", choices=("rye", "wheat"))
    book: str | None = setting(None, "where it is written", is_path=True)

    def __post_init__(self) -> None:
        settings.settle(self)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"loaves": 1.5}, "loaves must be a whole number, not 1.5"),
        ({"loaves": "2"}, "loaves must be a whole number, not '2'"),
        ({"loaves": True}, "loaves must be a whole number, not True"),
        ({"loaves": None}, "loaves must be a whole number, not None"),
        ({"loaves": 0}, "loaves must be a whole number above 0, not 0"),
        ({"loaves": 2**31}, "loaves must be at most 2147483647, not 2147483648"),
        ({"hours": 1e-31}, "hours must lie between 1e-30 and 1e+30, not 1e-31"),
        ({"hours": 1e31}, "hours must lie between 1e-30 and 1e+30, not 1e+31"),
        ({"hours": "long"}, "hours must be a number, not 'long'"),
        ({"hours": float("nan")}, "hours must be a positive number, not nan"),
        ({"is_sweet": "yes"}, "is_sweet must be True or False, not 'yes'"),
        ({"is_sweet": 1}, "is_sweet must be True or False, not 1"),
        ({"flour": "oat"}, "flour is 'oat', not one of rye, wheat"),
        ({"book": 3}, "book must be text, not 3"),
        ({"book": ""}, "book must not be empty"),
        ({"book": " "}, "book must not be empty"),
        ({"book": "\u200b"}, "book must not be empty"),
        (
            {"book": "gs://shelf/book"},
            "book must not be a URL such as gs://shelf/book: download it, or mount what contains "
            "it",
        ),
        (
            {"book": Path("s3://shelf/book")},
            "book must not be a URL such as s3:/shelf/book: download it, or mount what contains it",
        ),
        (
            {"book": os.devnull},
            f"book {os.devnull} is a stream, and training reads its texts again when it goes on: "
            "write them to a file first",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(given, says):
    with pytest.raises(UserError) as refusal:
        Baking(**given)
    assert str(refusal.value) == says


def test_numpy_s_numbers_and_paths_become_plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    baking = Baking(np.int64(3), np.float32(2), book=Path("book.txt"))
    kept = json.loads(json.dumps(dataclasses.asdict(baking)))
    assert kept["loaves"] == 3 and kept["hours"] == 2
    assert kept["book"] == os.path.realpath(tmp_path / "book.txt")
    assert type(Baking(hours=2).hours) is float


def test_a_pipe_cannot_be_read_again(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a stream"):
        Baking(book=tmp_path / "pipe")
    for name in ("C:/book", "a:b", "./gs:/book"):
        assert Baking(book=name).book.endswith(name.removeprefix("./"))


def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Baking(book="~/book.txt").book == os.path.realpath(tmp_path / "book.txt")
