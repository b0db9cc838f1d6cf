"""Lines on their way into a file: it is whole or visibly partial, and gone on with to the byte."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.growing_file import GrowingFile

LINES = [f"line {number} é" for number in range(20)]
WHOLE = "".join(line + "\n" for line in LINES).encode()


def write(path, stop=None, identity="a1", together=4, **options) -> int:
    """Write the lines, up to an interruption; how many were there already."""
    with GrowingFile(path, identity, together, **options) as file:
        for number in range(file.done, len(LINES)):
            if number == stop:
                raise KeyboardInterrupt
            file.add(LINES[number])
    return file.done


@given(stops=st.lists(st.integers(0, 19), max_size=4), cut=st.integers(0, 40))
def test_whatever_stops_it_the_same_lines_are_gone_on_with(tmp_path_factory, stops, cut):
    """Also where the end of what was not yet made safe is lost, or torn."""
    folder = tmp_path_factory.mktemp("growing")
    path, partial, safe = folder / "a.jsonl", folder / "a.jsonl.a1.partial", 0
    for stop in stops:
        if stop < safe:  # it would not be reached
            continue
        with pytest.raises(KeyboardInterrupt):
            write(path, stop)
        safe = max(safe, stop // 4 * 4)
        assert partial.exists() == (safe > 0) and not path.exists()
        if partial.exists():
            content = partial.read_bytes()
            assert WHOLE.startswith(content)
            kept = sum(len(line.encode()) + 1 for line in LINES[:safe])
            partial.write_bytes(content[: max(kept, len(content) - cut)])
    assert write(path) == safe
    assert path.read_bytes() == WHOLE and os.listdir(folder) == ["a.jsonl"]


def test_blocks_that_a_power_cut_has_left_empty_are_written_anew(tmp_path):
    """Behind what was made safe, with later ones that had come to the disk."""
    start = WHOLE.index(b"line 9")
    content = WHOLE[:start] + bytes(12) + WHOLE[start + 12 :]
    (tmp_path / "a.a1.partial").write_bytes(content)
    assert write(tmp_path / "a") == 8
    assert (tmp_path / "a").read_bytes() == WHOLE


def test_it_says_where_the_lines_are(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", 9)
    partial = tmp_path / "a.a1.partial"
    assert (
        capsys.readouterr().err
        == f"{partial} has 8 lines: run the same command to continue after them\n"
    )


def test_other_lines_and_lines_that_are_written_anew_begin_at_the_first(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", 9)
    assert write(tmp_path / "a", identity="b2") == 0
    assert sorted(os.listdir(tmp_path)) == ["a", "a.a1.partial"]
    assert write(tmp_path / "a", anew=True) == 0
    assert os.listdir(tmp_path) == ["a"]


def test_one_process_at_a_time(tmp_path):
    with GrowingFile(tmp_path / "a", "a1", 4), pytest.raises(UserError, match="another process"):
        write(tmp_path / "a")


def test_a_link_is_followed_and_a_planted_one_is_not(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == WHOLE
    (tmp_path / "a.a1.partial").symlink_to(tmp_path / "file")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "a", 3)
    assert (tmp_path / "file").read_bytes() == WHOLE


def test_what_is_no_file_is_written_to_directly():
    assert write("/dev/null") == 0
    with pytest.raises(UserError, match="cannot write /dev/full: no space left"):
        write("/dev/full")


def test_a_full_disk_is_one_line_and_what_is_safe_stays(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", 9)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"cannot write {tmp_path / 'a'}: no space left on device"):
        write(tmp_path / "a")
    monkeypatch.undo()
    assert write(tmp_path / "a") == 8 or (tmp_path / "a").read_bytes() == WHOLE


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    for path in (tmp_path / "no" / "a", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write"):
            write(path)
    assert not os.listdir(tmp_path)
