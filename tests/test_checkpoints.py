"""A state comes back bit for bit, whatever happened to it, or to its writer, after it was saved."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmask_jax.checkpoints import Checkpoints
from diffmask_jax.errors import UserError


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
    """Training donates its state to the next step while the last one is still being written."""

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


def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(3)})
    (tmp_path / "1" / "default" / "manifest.ocdbt").write_bytes(b"")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError) as refusal:
        checkpoints.restore(1, {"x": jnp.arange(3)})
    assert f"{tmp_path / '1'} is damaged" in str(refusal.value)
    assert "delete that folder" in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(3)})
        with pytest.raises(UserError, match="of another model"):
            checkpoints.restore(1, {"x": jnp.arange(4)})
