"""Errors name options as the one who reads them has to write them."""

import pytest

from diffmask_jax.errors import UserError, speaking_to_a_shell

MESSAGES = {
    "shorten it, or pass --truncate to cut it": "shorten it, or pass truncate=True to cut it",
    "lower --probe-rate or --multiplier-rate": "lower probe_rate or multiplier_rate",
    "use --batch-size 16 or more, or --layers batch": (
        "use batch_size=16 or more, or layers batch"
    ),
    "run `diffmask train --steps 9`, or a--b": "run `diffmask train --steps 9`, or a--b",
    "train a probe with --margin 0.05": "train a probe with margin=0.05",
    "no option at all - or -- two": "no option at all - or -- two",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_python_is_spoken_in_python_and_shell_in_the_shell(message):
    error = UserError(message)
    assert str(error) == MESSAGES[message]
    with speaking_to_a_shell():
        assert str(error) == message
    assert str(error) == MESSAGES[message]
    assert str(UserError(f"row 3: {error}")) == f"row 3: {error}"
