import os
import stat

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import (
    check_all_writable,
    check_own,
    check_plain,
    check_readable,
    check_writable,
    file_in,
    reading,
    write_atomically,
    write_in,
)


@pytest.mark.parametrize(("data", "content"), [("é\n", b"\xc3\xa9\n"), (b"\x00\r\n", b"\x00\r\n")])
def test_text_and_bytes_replace_what_was_there(tmp_path, data, content):
    path = tmp_path / "file"
    path.write_text("something longer than the new content")
    write_atomically(path, data)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    write_atomically(str(tmp_path / "ours"), "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, failure):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_):
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    expected = UserError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        write_atomically(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
    if expected is UserError:
        assert str(raised.value) == f"cannot write {path}: no space left on device"


def test_a_long_name_is_one_of_at_most_255_bytes(tmp_path):
    """あ is three of them, and the temporary name is longer."""
    longest = tmp_path / ("あ" * 83 + ".jsonl")
    check_writable(longest)
    write_atomically(longest, "read")
    assert longest.read_text() == "read" and os.listdir(tmp_path) == [longest.name]
    with pytest.raises(UserError, match="file name too long"):
        check_writable(tmp_path / ("あ" * 84 + ".html"))


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "no" / "file"
    with pytest.raises(UserError, match=f"cannot write {path}: the folder {path.parent} does not"):
        write_atomically(path, "")
    assert not path.parent.exists()


def test_a_folder_or_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write"):
            write_atomically(path, "")
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced():
    write_atomically(os.devnull, "gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


# --- folders that somebody sent --------------------------------------------------------------


def test_no_link_leads_out_of_a_folder_that_was_received(tmp_path):
    (tmp_path / "run").mkdir()
    for target in (tmp_path / "precious", tmp_path / "nothing", tmp_path):
        link = tmp_path / "run" / "config.json"
        (tmp_path / "precious").write_text("precious")
        link.symlink_to(target)
        write_in(tmp_path / "run", "config.json", "new")
        assert not link.is_symlink() and link.read_text() == "new"
        assert (tmp_path / "precious").read_text() == "precious"
        assert not (tmp_path / "nothing").exists()
        link.unlink()
    assert os.listdir(tmp_path / "run") == []


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "there")
    write_in(tmp_path / "run", "a", "new")
    assert (tmp_path / "there" / "a").read_text() == "new"


def test_a_folder_inside_is_no_link(tmp_path):
    check_own(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(UserError, match="checkpoints is a link"):
        check_own(tmp_path / "checkpoints")


def test_a_file_in_a_folder_by_its_plain_name(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").touch()
    (tmp_path / "in" / "a b").touch()
    assert file_in(tmp_path / "in", "a b") == tmp_path / "in" / "a b"
    for name in ("../out", str(tmp_path / "out"), "", ".", "..", "b", "a\0b", "x" * 300, "./a b"):
        assert file_in(tmp_path / "in", name) is None


@pytest.mark.parametrize("special", ["pipe", "device"])
def test_a_folder_that_holds_what_never_ends_is_refused(tmp_path, special):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "inner").mkdir()
    check_plain(tmp_path)
    if special == "pipe":
        os.mkfifo(tmp_path / "c")
    else:
        (tmp_path / "c").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="c is a pipe or a device, not a file"):
        check_plain(tmp_path)


def test_two_outputs_are_not_one_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    check_all_writable([tmp_path / "a", None, tmp_path / "b"])
    check_all_writable(["/dev/null", "/dev/null"])
    for one, other in (("a", "a"), ("a", "x/../a"), ("a", "link")):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="are the same file"):
            check_all_writable([tmp_path / one, None, tmp_path / other])
        with pytest.raises(UserError, match="are the same file"):
            check_all_writable([None, tmp_path / one], tmp_path / other)
    check_all_writable([tmp_path / "a"], tmp_path / "b")


@pytest.mark.parametrize("path", ["a\0b", "x" * 300])
def test_a_name_that_no_file_has(tmp_path, path):
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / path, "")
    with pytest.raises(UserError, match="cannot write"):
        write_in(tmp_path, path, "")
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "a", "\ud800")
    assert os.listdir(tmp_path) == []


# --- reading ---------------------------------------------------------------------------------


def test_what_cannot_be_read_is_told_with_its_place(tmp_path):
    (tmp_path / "latin").write_bytes("né".encode("latin-1"))
    for name, told in (
        ("latin", "latin: not UTF-8 text (byte 1)"),
        ("none", "none: No such file or directory"),
        ("a\0b", "a\0b: embedded null byte"),
        ("", ": Is a directory"),
    ):
        path = tmp_path / name
        with pytest.raises(UserError) as refusal, reading(path):
            path.read_text()
        assert (
            str(refusal.value).removeprefix("cannot read ") == f"{tmp_path}{'/' * bool(name)}{told}"
        )


def test_a_file_of_somebody_else_is_not_called_missing(tmp_path, monkeypatch):
    check_readable(tmp_path / "none")
    check_readable(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    with pytest.raises(UserError, match=f"cannot read {tmp_path}: permission denied"):
        check_readable(tmp_path)
