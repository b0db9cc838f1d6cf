"""What is written down about where a run began."""

import subprocess

from diffmask_jax.runtime import environment


def git(folder, *command):
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, *names, *command], check=True, capture_output=True)


def test_a_commit_is_the_source_s_own_and_not_that_of_a_project_around_it(tmp_path):
    assert environment._commit(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "file").touch()
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    commit = environment._commit(tmp_path)
    assert commit is not None and len(commit) >= 7
    (tmp_path / "file").write_text("changed")
    assert environment._commit(tmp_path) == f"{commit}-dirty"
    inside = tmp_path / ".venv" / "site-packages"
    inside.mkdir(parents=True)
    assert environment._commit(inside) is None


def test_a_package_that_is_not_installed_has_no_version():
    assert environment._version("no-such-package") is None
    assert environment._version("jax")
