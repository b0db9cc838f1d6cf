"""A state comes back bit for bit, whatever happened to it, or to its writer, after it was saved."""

import errno
import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import checkpoints
from diffmask_jax.runtime.checkpoints import Checkpoints, newest_whole


def state(seed: int):
    """Of every kind that a training state may hold."""
    key = jax.random.key(seed)
    weights = jax.random.normal(key, (7, 5))
    return {
        "step": jnp.int32(seed),
        "key": key,
        "pair": optax.LookaheadParams(fast=weights, slow=weights.astype(jnp.bfloat16)),
        "list": [jnp.float32(1 / 3), {"count": jnp.arange(3)}],
    }


def assert_same(restored, expected) -> None:
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(ours, theirs)


def test_a_state_comes_back_bit_for_bit(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state(3))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
        assert_same(checkpoints.restore(3, state(0)), state(3))


def test_what_happens_to_the_arrays_afterwards_does_not_reach_the_checkpoint(tmp_path):
    """Training donates its state to the next step while the last one is still being written.

    On an accelerator orbax has copied it by then. On a CPU it writes from JAX's own buffer, which a
    donation then does not touch: the second half shows it.
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(x):
        return x + 1

    x = jnp.zeros(1_000_000)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, {"x": x})
        for _ in range(5):
            x = advance(x)
    with Checkpoints(tmp_path) as checkpoints:
        np.testing.assert_array_equal(checkpoints.restore(0, {"x": x})["x"], np.zeros(1_000_000))
    x = jnp.zeros(1_000_000)
    seen = np.asarray(x)
    assert not seen.flags.owndata
    np.testing.assert_array_equal(advance(x), np.ones(1_000_000))
    np.testing.assert_array_equal(seen, np.zeros(1_000_000))


def test_the_newest_two_are_kept(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() is None
        for step in (1, 2, 3):
            checkpoints.save(step, {"x": jnp.arange(step)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_a_checkpoint_that_was_not_finished_does_not_count(tmp_path, caplog):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(3)})
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        checkpoints.save(2, {"x": jnp.arange(4)})
    with Checkpoints(tmp_path) as checkpoints:
        assert_same(checkpoints.restore(2, {"x": jnp.zeros(4, int)}), {"x": jnp.arange(4)})
    assert not caplog.records  # nothing for a user to read


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
    """Checkpoints 1 and 2 of a state that has a file of its own for its arrays."""
    folder = tmp_path_factory.mktemp("two")
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, numbers(step))
    return folder


def numbers(seed: int):
    return {"x": jax.random.normal(jax.random.key(seed), (100, 100))}


def largest(place: Path) -> Path:
    return max(place.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())


def cut(place: Path) -> None:
    file = largest(place)
    file.write_bytes(file.read_bytes()[:-1000])


def overwrite_with_zeros(place: Path) -> None:
    """20 bytes amid the compressed numbers, which orbax would restore as other numbers."""
    file = largest(place)
    content = bytearray(file.read_bytes())
    content[20_000:20_020] = bytes(20)
    file.write_bytes(content)


DAMAGES = [
    (cut, "has changed"),
    (overwrite_with_zeros, "has changed"),
    (lambda place: largest(place).unlink(), "is missing"),
    (lambda place: (place / "default" / "_METADATA").unlink(), "default/_METADATA is missing"),
    (lambda place: (place / "default" / "manifest.ocdbt").write_bytes(b""), "has changed"),
    (lambda place: (place / "sha256.json").write_text("{"), "sha256.json cannot be read"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_serves(
    two_saved, tmp_path, capsys, damage, told
):
    folder = tmp_path / "checkpoints"
    shutil.copytree(two_saved, folder)
    damage(folder / "2")
    with Checkpoints(folder) as checkpoints:
        line = capsys.readouterr().err
        assert line.startswith(f"the checkpoint {folder / '2'} is damaged (") and told in line
        assert line.endswith("renamed it to damaged-2\n") and line.count("\n") == 1
        assert checkpoints.latest() == 1
        assert_same(checkpoints.restore(1, numbers(0)), numbers(1))
        checkpoints.save(2, numbers(2))
    with Checkpoints(folder) as checkpoints:
        assert_same(checkpoints.restore(checkpoints.latest(), numbers(0)), numbers(2))
    assert (folder / "damaged-2").is_dir()
    assert capsys.readouterr().err == ""


def test_a_checkpoint_that_cannot_be_read_just_now_stays_where_it_is(
    two_saved, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(two_saved, folder)

    def stale(file):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(checkpoints, "_digest", stale)
    with pytest.raises(UserError, match="cannot be read \\(Stale file handle\\)"):
        Checkpoints(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_what_cannot_be_saved_is_told_in_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Checkpoints(tmp_path) as saving:
        monkeypatch.setattr(saving._manager, "save", full)
        with pytest.raises(UserError, match=r"cannot save a checkpoint in .*No space left") as told:
            saving.save(1, {"x": jnp.arange(3)})
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="No space left"), Checkpoints(tmp_path) as saving:
        close = saving._manager.close
        monkeypatch.setattr(saving._manager, "close", full)
    close()


def test_damaged_again_neither_is_lost(two_saved, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    shutil.copytree(two_saved, folder)
    for _ in range(2):
        cut(folder / "2")
        assert newest_whole(folder) == 1
        shutil.copytree(two_saved / "2", folder / "2")
    assert newest_whole(folder) == 2
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["1", "2", "damaged-2", "damaged-2-again"]


def test_with_none_that_is_whole_nothing_begins_anew(two_saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(two_saved, folder)
    cut(folder / "1")
    cut(folder / "2")
    for _ in range(2):  # told again until somebody decides
        with pytest.raises(UserError) as refusal:
            Checkpoints(folder)
        assert f"no intact checkpoint is left in {folder}" in str(refusal.value)
        assert "damaged-1, damaged-2" in str(refusal.value) and "\n" not in str(refusal.value)


def test_damage_that_no_digest_tells_of_is_left_to_orbax(two_saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(two_saved, folder)
    (folder / "2" / "sha256.json").unlink()  # as of a run that began before there were digests
    with Checkpoints(folder) as checkpoints:
        assert_same(checkpoints.restore(2, numbers(0)), numbers(2))
        (folder / "2" / "default" / "_METADATA").write_text("{")
        with pytest.raises(UserError) as refusal:
            checkpoints.restore(2, numbers(0))
    assert f"{folder / '2'} is damaged or belongs to another model" in str(refusal.value)
    assert "delete that folder" in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(3)})
        with pytest.raises(UserError, match="belongs to another model"):
            checkpoints.restore(1, {"x": jnp.arange(4)})
