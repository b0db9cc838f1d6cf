"""Every JSON: what is written is read back, and what is none is one line with its place."""

import json
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.json_files import (
    DEEPEST,
    dumps,
    field,
    jsonable,
    parse,
    read,
    read_lines,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (math.inf, -math.inf)),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=12,
)


def refused(text: str, kind: type = object) -> str:
    """The one line that refuses a text."""
    with pytest.raises(UserError) as refusal:
        parse(text, "here", kind)
    assert "\n" not in str(refusal.value) and str(refusal.value).startswith("here")
    return str(refusal.value)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_written_is_read_back(value, plain, indent):
    assert parse(dumps(value, indent, plain=plain), "here", object) == value


@given(st.text(max_size=40))
def test_any_text_is_what_python_reads_or_one_line(text):
    """What JSON has no notation for is refused by name, the rest as Python reads it."""

    def number(spelt: str) -> float:
        if not math.isfinite(found := float(spelt)):
            raise ValueError
        return found

    try:
        expected = json.loads(text, parse_constant=number, parse_float=number)
    except ValueError:
        assert "not JSON" in refused(text)
    else:
        assert parse(text, "here", object) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NaN", "NaN is not a number"),
        ('{"a": [1, -Infinity]}', "-Infinity is not a number"),
        ("[1e999]", "1e999 is not a number"),
        ("9" * 301, "9… is not a number"),
        ("9" * 5000, "9… is not a number"),
        ('{"a": 1, "b": 2, "a": 3}', "the name 'a' appears twice in one object"),
        (r'{"a": "\ud800"}', "half a surrogate pair"),
        (r'{"\udfff": 1}', "half a surrogate pair"),
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), f"more than {DEEPEST} levels deep"),
        ('{"a":' * 100_000, f"more than {DEEPEST} levels deep"),
        ("[" * 100_000, f"more than {DEEPEST} levels deep"),
        ("", "Expecting value"),
    ],
)
def test_what_no_file_may_hold(text, says):
    assert says in refused(text)


def test_what_a_file_may_hold():
    assert parse("[" * DEEPEST + "]" * DEEPEST, "here", list)
    assert parse(r'"\ud83d\ude00"', "here", str) == "😀"
    assert parse("9" * 300, "here", int) == 10**300 - 1


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (dict, ["{}"], ["[]", "1", "null"]),
        (list, ["[]"], ["{}", '"a"']),
        (str, ['"a"'], ["1", "null"]),
        (int, ["1"], ["true", "1.0", '"1"']),
        (float, ["1.5", "1"], ["true", '"1"', "null"]),
        (bool, ["true"], ["1", "0", '"true"', "null"]),
    ],
)
def test_kinds(kind, good, bad):
    for text in good:
        assert parse(text, "here", kind) == json.loads(text)
    for text in bad:
        assert "must be" in refused(text, kind)
        with pytest.raises(UserError, match="here: the field 'x' must be"):
            field({"x": json.loads(text)}, "x", kind, "here")
    with pytest.raises(UserError, match="here: the field 'x' is missing"):
        field({}, "x", kind, "here")


def test_what_python_holds_as_json_types():
    class Point(NamedTuple):
        at: np.ndarray
        told: dict

    point = Point(np.array([[1, 2]]), {"a": (1 / 3, np.float32(0.5), math.nan), "b": None})
    assert jsonable(point) == {"at": [[1, 2]], "told": {"a": [0.333333, 0.5, None], "b": None}}
    assert jsonable([True, "a", 12345678, np.int64(3)]) == [True, "a", 12345678, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_that_is_none_is_written(value):
    with pytest.raises(UserError, match=r"a result is not a number \(a\.1\.b is "):
        dumps({"a": [1.0, {"b": value}]})
    assert json_files.finite(value) is None and json_files.finite(1.5) == 1.5


def test_files(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match=r"there is no a\.json in "):
        read(path)
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read(path) == {}
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match=r"a\.json: not UTF-8 text \(byte 7\)"):
        read(path)
    path.unlink()
    path.mkdir()
    for place in (path, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(UserError, match="there is no"):
            read(place)


def test_a_pipe_and_a_file_of_gibibytes_are_not_waited_for(tmp_path, monkeypatch):
    import os

    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UserError, match="there is no"):
        read(tmp_path / "pipe.json")
    (tmp_path / "a.json").write_text("[1, 2]")
    monkeypatch.setattr(json_files, "LARGEST", 5)
    with pytest.raises(UserError, match="is larger than"):
        read(tmp_path / "a.json", list)


def test_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2, "x": "\u2028"}\n{"step"')
    assert read_lines(path, {"step": int}, cut=True) == [{"step": 1}, {"step": 2, "x": "\u2028"}]
    with pytest.raises(UserError, match=r"a\.jsonl:4: not JSON"):
        read_lines(path, {"step": int})
    with pytest.raises(UserError, match=r"a\.jsonl:1: the field 'x' is missing"):
        read_lines(path, {"x": str}, cut=True)
