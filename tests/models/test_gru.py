"""The GRU against PyTorch on packed sequences, and padding that leaves it untouched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.models.gru import GRU, gru_step

B, T, D, H = 5, 7, 3, 4
LENGTHS = (7, 5, 3, 1, 4)
MODULE = GRU(H)
X = jax.random.normal(jax.random.key(0), (B, T, D))
PARAMS = jax.jit(MODULE.init)(jax.random.key(1), X, jnp.ones((B, T), bool))
read = jax.jit(MODULE.apply)
lengths = st.lists(st.integers(1, T), min_size=B, max_size=B)


def valid(lengths) -> jax.Array:
    return jnp.arange(T) < jnp.asarray(lengths)[:, None]


NAMES = {
    "weight_ih_l0": "input_kernel",
    "weight_hh_l0": "hidden_kernel",
    "bias_ih_l0": "input_bias",
    "bias_hh_l0": "hidden_bias",
}
"""PyTorch's names of our parameters, which are theirs transposed."""


@pytest.fixture(scope="module")
def pytorch():
    """(x, lengths, slope) -> the last recurrent state of `torch.nn.GRU` with our weights, and the
    gradients of Σ slope·state in x and in our parameters."""
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    gru = torch.nn.GRU(D, H, batch_first=True)
    weights = {n: torch.tensor(np.asarray(PARAMS["params"][ours]).T) for n, ours in NAMES.items()}
    gru.load_state_dict(weights)

    def run(x, lengths, slope=None):
        x = torch.tensor(np.asarray(x), requires_grad=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        last = gru(packed)[1][0]
        if slope is None:
            return last.detach().numpy()
        gru.zero_grad()
        (last * torch.tensor(np.asarray(slope))).sum().backward()
        grads = {NAMES[name]: weight.grad.numpy().T for name, weight in gru.named_parameters()}
        return x.grad.numpy(), grads

    return run


@given(lengths)
@settings(deadline=None, max_examples=20)
def test_the_last_state_is_pytorchs_on_packed_sequences(pytorch, lengths):
    found = read(PARAMS, X, valid(lengths))
    np.testing.assert_allclose(found, pytorch(X, lengths), atol=1e-5)


@pytest.mark.parametrize("reading", [None, (5, 5, 4, 4, 2, 2, 1)])
def test_the_written_gradients_are_pytorchs(pytorch, reading):
    """In the input and in every parameter, with and without rows that are not read to the end."""
    lengths, slope = (7, 6, 4, 4, 2), jax.random.normal(jax.random.key(2), (B, H))

    @jax.jit
    def slopes(params, x):
        def total(params, x):
            return jnp.sum(slope * MODULE.apply({"params": params}, x, valid(lengths), reading))

        return jax.grad(total, argnums=(0, 1))(params, x)

    for_params, for_x = slopes(PARAMS["params"], X)
    of_x, of_params = pytorch(X, lengths, slope)
    np.testing.assert_allclose(for_x, of_x, atol=1e-6)
    for name, gradient in of_params.items():
        np.testing.assert_allclose(for_params[name], gradient, atol=1e-5, err_msg=name)


def test_rows_that_are_over_need_not_be_read():
    lengths = (7, 6, 4, 4, 2)
    found = jax.jit(lambda: MODULE.apply(PARAMS, X, valid(lengths), (5, 5, 4, 4, 2, 2, 1)))()
    np.testing.assert_allclose(found, read(PARAMS, X, valid(lengths)), atol=1e-6)


@given(lengths, st.floats(-100, 100, width=32))
@settings(deadline=None, max_examples=20)
def test_padding_is_inert(lengths, content):
    positions = valid(lengths)
    other = jnp.where(positions[..., None], X, content)
    np.testing.assert_array_equal(read(PARAMS, other, positions), read(PARAMS, X, positions))


def test_padding_may_stand_anywhere_and_gets_no_gradient():
    positions = valid(LENGTHS)
    expected = read(PARAMS, X, positions)
    mirrored = read(
        PARAMS,
        jnp.stack([jnp.roll(x, T - n, 0) for x, n in zip(X, LENGTHS, strict=True)]),
        positions[:, ::-1],
    )
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)
    slopes = jax.jit(jax.grad(lambda x: MODULE.apply(PARAMS, x, positions).sum()))(X)
    np.testing.assert_array_equal(slopes[~positions], 0)
    assert jnp.all(jnp.any(slopes[positions] != 0, axis=-1))


def test_a_text_without_a_valid_position_stays_at_the_start():
    np.testing.assert_array_equal(read(PARAMS, X, jnp.zeros((B, T), bool)), np.zeros((B, H)))


def test_reading_is_stepping():
    params = PARAMS["params"]
    h = jnp.zeros((B, H))
    for t in range(T):
        projected = X[:, t] @ params["input_kernel"] + params["input_bias"]
        h = gru_step(h, projected, params["hidden_kernel"], params["hidden_bias"])
    np.testing.assert_allclose(read(PARAMS, X, valid([T] * B)), h, atol=1e-6)


def test_weights_start_as_pytorchs_do():
    """Uniform within ±1/√H, all of them, and not all alike."""
    params = PARAMS["params"]
    for array in map(np.asarray, params.values()):
        assert 0.8 * H**-0.5 < np.abs(array).max() <= H**-0.5
        assert np.std(array) == pytest.approx(H**-0.5 / np.sqrt(3), rel=0.3)
    assert not np.array_equal(params["input_bias"], params["hidden_bias"])
