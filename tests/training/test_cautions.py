"""What cannot work is told, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.training import cautions
from diffmask_jax.training.config import run_config
from diffmask_jax.training.settled import Curves

LAYERS = ("W", "E", "1", "2")
MARGIN = 0.1


def config(**changes):
    return run_config("model", "texts", train="train.txt", dev="dev.txt", margin=MARGIN, **changes)


def curves(divergence=MARGIN, played=0.25, multiplier=3.0, calls=64) -> Curves:
    """Of so many calls; each an array that broadcasts to (calls, 4), D as means of who played."""
    shape = (calls, len(LAYERS))
    share = np.broadcast_to(played, shape)
    filled = {"masked": 0.5, "agreement": 0.9, "multiplier": multiplier}
    return Curves(
        played=share,
        divergence=share * np.broadcast_to(divergence, shape),
        **{name: np.broadcast_to(value, shape).astype(float) for name, value in filled.items()},
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"warmup": 300, "steps": 300}, "the warm-up of 300 steps lasts for the whole run"),
        (
            {"steps": 60, "warmup": 5},
            "60 steps is too short to be judged as settled, which takes 64",
        ),
        ({"steps": 64, "layers": "batch"}, "each of 8 layers plays in only 8.0 of the 64 steps"),
    ],
)
def test_settings_that_cannot_work_are_told_before_the_start(changes, says):
    (told, *_) = cautions.before(config(**{"warmup": 10} | changes), 8)
    assert says in told


def test_the_defaults_and_the_authors_settings_are_no_reason_to_worry():
    assert cautions.before(config(), 14) == []
    assert cautions.before(config(setting="authors"), 14) == []


def during(steps=256, **given):
    return cautions.during(config(steps=steps), LAYERS, curves(**given))


def test_a_margin_that_is_never_reached_is_told_with_its_side():
    (below,) = during(divergence=[0.1, 0.05, 0.08, 0.1])
    assert (
        "never come up to the margin of 0.1 nats at layers E and 1: " in below and "less" in below
    )
    (above,) = during(divergence=[0.1, 0.1, 0.12, 0.3])
    assert (
        "never come down to the margin of 0.1 nats at layers 1 and 2: " in above and "more" in above
    )


def test_a_layer_that_crosses_its_margin_or_does_not_feel_it_is_left_alone():
    rising = np.linspace(0.0, 0.3, 64)[:, None]
    assert during(divergence=rising) == []
    assert during(divergence=0.01, multiplier=0.01) == []


def test_a_layer_that_is_hardly_dealt_starves():
    (told,) = during(played=[0.3, 0.3, 0.3, 0.1])
    assert told.startswith("layer 2 starves, with 40% of an even share")


@given(st.integers(0, 127))
def test_nothing_is_said_in_the_first_half(calls):
    assert during(steps=1024, calls=calls, divergence=9.0) == []


def test_a_layer_that_is_dealt_over_half_its_share_does_not_starve():
    assert during(played=[0.28, 0.28, 0.29, 0.15]) == []
