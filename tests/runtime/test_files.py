import os
import stat

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import write_atomically


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
