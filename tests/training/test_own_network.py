"""A probe for anyone's network, from the page that shows how: the 3s stay, all else may go."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uneven

from diffmask_jax import fit_probe
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import (
    BERNOULLI,
    CATEGORICAL,
    MULTI_LABEL,
    SPAN,
    close_padding,
    gaussian,
)
from diffmask_jax.game.players import Rates
from diffmask_jax.training.own_network_checks import as_number

PAGE = Path(__file__).parents[2] / "docs" / "own_network.md"


def code_of(page: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's code leaves behind."""
    names: dict[str, Any] = {}
    exec(compile(code_of(PAGE.read_text(encoding="utf-8")), str(PAGE), "exec"), names)
    return names


@pytest.fixture(scope="module")
def held_out(page):
    """Inputs that the page has not seen, each with a 3 in it, and where their 3s stand."""
    rng = np.random.default_rng(7)
    valid = np.arange(8) < rng.integers(1, 9, (600, 1))
    digits = rng.integers(0, 10, (600, 8))
    threes = (digits == 3) & valid
    some = threes.any(axis=1)
    return page["Inputs"](digits[some], valid[some]), threes[some]


def fit(model, inputs=uneven.INPUTS, params=uneven.PARAMS, **more):
    settings = {"steps": 3, "batch_size": 3, "rates": Rates(0.01, 0.01, 0.01, 0)}
    return fit_probe(model, params, inputs, **(settings | more))


# --- the page --------------------------------------------------------------------------------


def test_the_page_s_code_is_short_and_no_line_is_too_long():
    lines = code_of(PAGE.read_text(encoding="utf-8")).splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40
    assert max(map(len, lines)) <= 100 and not any(";" in line for line in lines)


@pytest.mark.long
def test_the_page_s_network_knows_a_3(page, held_out):
    inputs, _ = held_out
    logits, states = page["cnn"].apply(page["params"], inputs)
    assert len(states) == len(page["model"].layers)
    assert np.mean(np.argmax(logits, axis=1) == 1) >= 0.99
    for layer, state in enumerate(states):
        resumed = page["model"].logits_from(page["params"], inputs, state, layer)
        np.testing.assert_allclose(resumed, logits, atol=1e-5)


def assert_keeps_the_threes(keep, held_out) -> None:
    inputs, threes = held_out
    assert keep.shape == (2, *threes.shape)
    last = np.asarray(keep)[-1]
    assert last[threes].mean() >= 0.8
    assert last[inputs.valid & ~threes].mean() <= 0.3


@pytest.mark.long
def test_its_probe_keeps_the_threes_and_drops_all_else(page, held_out):
    assert page["keep"].shape == (2, 1000, 8)
    assert_keeps_the_threes(page["probe"](held_out[0]), held_out)
    curves = page["probe"].curves
    assert curves.masked.shape == (300, 2) and curves.masked[-50:].sum(axis=1).mean() > 0.5
    assert curves.divergence[-50:].sum(axis=1).mean() < 0.2


@pytest.mark.long
def test_the_hidden_probe_does_alike(page, held_out):
    rates = page["Rates"](probe=0.01, warmup=30)
    probe = fit_probe(
        page["model"], page["params"], page["inputs"], gate="hidden", steps=300, rates=rates
    )
    assert len(probe.probe_params["baselines"]) == 2
    assert_keeps_the_threes(probe(held_out[0]), held_out)


# --- any network -----------------------------------------------------------------------------


def test_layers_come_as_python_ints_and_states_in_their_own_width():
    seen = set()

    def logits_from(params, inputs, state, layer):
        assert type(layer) is int
        seen.add((layer, state.shape[-1]))
        return uneven.model().logits_from(params, inputs, state, layer)

    zeros = [jnp.zeros(width) for width in uneven.WIDTHS]
    fitted = fit(
        uneven.model()._replace(logits_from=logits_from),
        gate="hidden", baselines=zeros, hidden=7,
    )  # fmt: skip
    assert seen == set(enumerate(uneven.WIDTHS))
    assert fitted(uneven.INPUTS).shape == (3, uneven.B, uneven.T)
    assert all(np.isfinite(curve).all() and len(curve) == 3 for curve in fitted.curves)
    assert fitted.settled().startswith(f"not settled: {fitted.game.model.layers[0]} (moving")
    found = fitted.probe_params["baselines"]
    assert [baseline.shape for baseline in found] == [(width,) for width in uneven.WIDTHS]
    assert fitted.probe_params["gates"][0]["first"]["kernel"].shape == (3, 7)


def test_the_network_s_parameters_stay_and_a_seed_gives_the_same_bits():
    before = jax.tree.map(np.array, uneven.PARAMS)
    first, other = (fit(uneven.model(), seed=seed) for seed in (3, 4))
    again = fit(uneven.model(), seed=3, margin=jnp.float32(first.game.margin))
    jax.tree.map(np.testing.assert_array_equal, uneven.PARAMS, before)
    jax.tree.map(np.testing.assert_array_equal, first.probe_params, again.probe_params)
    np.testing.assert_array_equal(first.curves.loss, again.curves.loss)
    kernels = (fitted.probe_params["gates"][0]["first"]["kernel"] for fitted in (first, other))
    assert np.abs(np.subtract(*kernels)).max() > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 5}, "4 examples do not fill one batch of 5"),
        ({"batch_size": 0}, "batch_size (0) must be a whole number above 0"),
        ({"steps": 0}, "steps (0) must be a whole number above 0"),
        ({"margin": -0.1}, "margin (-0.1) must be a positive number"),
        ({"hidden": 0}, "hidden (0) must be a whole number above 0"),
        ({"baselines": jnp.zeros((1, 2))}, "baselines have the shapes [(2,)]: this gate needs [("),
        ({"gate": "output"}, "gate is 'output', not one of input, hidden"),
        ({"inputs": uneven.INPUTS.words}, "the inputs need a field `valid`"),
        (
            {"inputs": uneven.INPUTS._replace(valid=[[1, 0]])},
            "`valid` must be an array of booleans",
        ),
        (
            {"inputs": uneven.INPUTS._replace(valid=np.ones((uneven.B, uneven.T, 1), bool))},
            "`valid` must be an array of booleans (N, T)",
        ),
        (
            {"inputs": uneven.INPUTS._replace(words=uneven.INPUTS.words[:-1])},
            "the inputs' `words` must be an array of 4 rows, as many as `valid` has, not an array "
            "(3, 6, 3)",
        ),
        ({"inputs": uneven.INPUTS._replace(words=1.5)}, "not a float"),
        ({"inputs": uneven.INPUTS._replace(words=np.array(list("film")))}, "not an array of <U1"),
        (
            {"params": uneven.PARAMS | {"activation": lambda x: x}},
            "the parameters' `activation` is a function, not an array: pass only arrays",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(change, says):
    with pytest.raises(UserError, match=re.escape(says)):
        fit(uneven.model(), **change)


@pytest.mark.parametrize("given", [None, "0.1", True, [0.1, 0.2], np.zeros(2), {}, "large"])
def test_a_margin_that_is_no_number_is_refused_in_a_line(given):
    """Where no types are checked, as they are in this test run."""
    with pytest.raises(UserError, match=r"^margin must be a number, not ") as refusal:
        as_number(given, "margin")
    assert "\n" not in str(refusal.value)
    for one in (2, 2.0, np.float32(2), jnp.array(2.0), np.array([2.0])):
        assert type(found := as_number(one, "margin")) is float and found == 2


def test_states_that_do_not_fit_are_refused_in_a_line():
    model = uneven.model()
    with pytest.raises(UserError, match="the network gives 3 states, but `layers` names 2"):
        fit(model._replace(layers=model.layers[:2]))

    def first_positions(params, inputs):
        logits, states = model.states(params, inputs)
        return logits, (states[0][:, :1], *states[1:])

    with pytest.raises(
        UserError, match=rf"state {model.layers[0]} is .*: it must be \(N, T, width"
    ):
        fit(model._replace(states=first_positions))


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_network_that_resumes_a_layer_off_is_refused(wrong):
    model = uneven.model()

    def off_by_one(params, inputs, state, layer):
        if layer != 1 + (wrong < 0):  # of equal widths are only states 1 and 2
            return model.logits_from(params, inputs, state, layer)
        return model.logits_from(params, inputs, state, layer + wrong)

    layer = model.layers[1 + (wrong < 0)]
    with pytest.raises(UserError, match=f"given state {layer} of the clean pass returns other log"):
        fit(model._replace(logits_from=off_by_one))


def large(params, inputs, logits):
    """Numbers whose offset is far larger than their spread."""
    return logits + 3e5


def spans(params, inputs, logits):
    """Starts and ends, with padding closed, whose logits therefore have a huge spread."""
    table = jnp.stack(
        [logits.sum(-1, keepdims=True) * inputs.words[..., 0], inputs.words[..., 1]], -1
    )
    return close_padding(table, inputs.valid)


def masked(params, inputs, logits):
    """A class that is never to be chosen."""
    return logits.at[:, 1].set(-jnp.inf)


def even(params, inputs, logits):
    """Outputs that hardly differ from one class to the next, as of an untrained network."""
    return 0.05 * logits


@pytest.mark.parametrize(
    ("family", "made"),
    [(gaussian(1.0), large), (SPAN, spans), (CATEGORICAL, even)],
)
def test_a_network_that_ignores_its_state_is_refused_whatever_its_unit(family, made):
    model = uneven.model(family)

    def states(params, inputs):
        logits, found = model.states(params, inputs)
        return made(params, inputs, logits), found

    def resumed(params, inputs, state, layer):
        return made(params, inputs, model.logits_from(params, inputs, state, layer))

    def deaf(params, inputs, state, layer):
        return resumed(params, inputs, 0 * state, layer)

    right = model._replace(states=states, logits_from=resumed)
    assert fit(right)(uneven.INPUTS).shape == (3, uneven.B, uneven.T)
    with pytest.raises(UserError, match="returns other logits than the clean pass"):
        fit(right._replace(logits_from=deaf))


def test_a_masked_class_hides_no_mistake():
    """Its divergence is not a number, so that training itself would refuse such a network."""
    model = uneven.model()

    def states(params, inputs):
        logits, found = model.states(params, inputs)
        return masked(params, inputs, logits), found

    def deaf(params, inputs, state, layer):
        return masked(params, inputs, model.logits_from(params, inputs, 0 * state, layer))

    with pytest.raises(UserError, match="returns other logits than the clean pass"):
        fit(model._replace(states=states, logits_from=deaf))


def test_its_functions_may_need_to_be_compiled_and_are_told_apart_by_structure():
    model = uneven.model()
    numpy = jax.tree.map(np.asarray, uneven.PARAMS)

    def states(params, inputs):
        _ = params["head"].at[0].get()  # which no numpy array has
        return model.states(params, inputs)

    settings = {"steps": 1, "batch_size": 3}
    fit_probe(model._replace(states=states), numpy, uneven.INPUTS, **settings)

    def listed(params, inputs, state, layer):
        return [model.logits_from(params, inputs, state, layer)]

    with pytest.raises(UserError, match="returns other logits than the clean pass"):
        fit(model._replace(logits_from=listed))


@pytest.mark.parametrize(
    ("family", "change"),
    [
        (BERNOULLI, lambda logits: logits[:, :1]),
        (BERNOULLI, lambda logits: logits),
        (CATEGORICAL, lambda logits: logits[:, 0]),
        (CATEGORICAL, lambda logits: logits[:, :1]),
        (MULTI_LABEL, lambda logits: logits[:, 0]),
    ],
)
def test_logits_that_are_not_their_family_s_are_refused(family, change):
    """As they are where jaxtyping does not check shapes: a user's program has no such hook."""
    model = uneven.model(family)

    def states(params, inputs):
        logits, found = model.states(params, inputs)
        return change(logits), found

    with pytest.raises(UserError, match="do not fit their family: BERNOULLI has"):
        fit(model._replace(states=states))


def test_a_network_that_gives_no_numbers_is_told():
    words = uneven.INPUTS.words.at[0].set(jnp.nan)
    with pytest.raises(UserError, match="the numbers are not finite after step 0"):
        fit(uneven.model(), uneven.INPUTS._replace(words=words), batch_size=4)


def test_layers_may_be_a_list_and_baselines_an_array():
    model = uneven.model()
    fitted = fit(model._replace(layers=list(model.layers)), baselines=jnp.zeros((1, 3)))
    assert fitted(uneven.INPUTS).shape == (3, uneven.B, uneven.T)
