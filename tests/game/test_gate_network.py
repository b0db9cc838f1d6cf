"""One gate network against its formula, written out."""

import jax
import numpy as np

from diffmask_jax.game.gate_network import GateNetwork

B, T, D, HIDDEN = 3, 5, 6, 7
STATE = jax.random.normal(jax.random.key(0), (B, T, D))
gate_logits = jax.jit(GateNetwork(HIDDEN).apply)


def network(*features: jax.Array) -> dict:
    """Fresh parameters, for what a network reads."""
    init = jax.jit(GateNetwork(HIDDEN).init)
    return init(jax.random.key(1), *(features or (STATE,)))["params"]


def by_hand(params, features: np.ndarray) -> np.ndarray:
    def linear(x, name):
        kernel = params[name]["kernel"] / np.linalg.norm(params[name]["kernel"], axis=0)
        return x @ (kernel * params[f"{name}_norm"][f"{name}/kernel/scale"]) + params[name]["bias"]

    x = linear(np.tanh(linear(features, "first")), "second")[..., 0]
    return 10 * np.tanh(x) + params["shift"]


def test_a_gate_network_is_its_formula():
    params = network()
    params = jax.tree.map(
        lambda x: np.float64(x) + 0.3 * np.sin(np.arange(x.size)).reshape(x.shape), params
    )
    found = gate_logits({"params": params}, STATE)
    expected = by_hand(params, np.float64(STATE))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_a_gate_network_reads_may_come_in_parts():
    narrow = STATE[..., :2]
    params = network(STATE, narrow)
    found = gate_logits({"params": params}, STATE, narrow)
    together = np.concatenate([np.float64(STATE), np.float64(narrow)], axis=-1)
    np.testing.assert_allclose(found, by_hand(params, together), rtol=1e-5, atol=1e-5)


def test_only_the_direction_of_a_kernels_columns_counts():
    params = network()
    expected = gate_logits({"params": params}, STATE)
    for name in ("first", "second"):
        scaled = params | {name: params[name] | {"kernel": 10 * params[name]["kernel"]}}
        found = gate_logits({"params": scaled}, STATE)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_columns_start_with_the_norm_of_pytorchs_rows():
    params = network()
    scales = params["first_norm"]["first/kernel/scale"]
    np.testing.assert_allclose(scales, np.full(HIDDEN, 3**-0.5), rtol=1e-6)
    np.testing.assert_allclose(params["second_norm"]["second/kernel/scale"], [3**-0.5], rtol=1e-6)
