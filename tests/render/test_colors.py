import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.render.colors import (
    BLACK,
    ON_DARK,
    ON_LIGHT,
    WHITE,
    color,
    contrast,
    hex_color,
    text_color,
)

probabilities = st.floats(0.0, 1.0)
scales = st.sampled_from([ON_LIGHT, ON_DARK])


def test_contrast_of_the_extremes_is_the_wcag_maximum():
    assert contrast(BLACK, WHITE) == pytest.approx(21.0)
    assert contrast(WHITE, BLACK) == pytest.approx(21.0)
    assert contrast(WHITE, WHITE) == pytest.approx(1.0)


@given(probabilities, scales)
def test_text_is_readable_on_every_colour(value, scale):
    background = color(value, scale)
    assert contrast(text_color(background), background) >= 4.5


@pytest.mark.parametrize(("scale", "towards"), [(ON_LIGHT, WHITE), (ON_DARK, BLACK)])
def test_a_larger_keep_probability_stands_out_more(scale, towards):
    steps = [contrast(color(value, scale), towards) for value in np.linspace(0, 1, 41).tolist()]
    assert all(low < high for low, high in itertools.pairwise(steps))


@given(probabilities, scales)
def test_no_channel_is_clipped_so_the_hue_is_one(value, scale):
    red, green, blue = color(value, scale)
    assert min(red, green, blue) > 0 and max(red, green, blue) < 255
    assert blue >= max(red, green)


def test_hex_color_is_short_only_when_nothing_is_lost():
    assert hex_color((255, 255, 255)) == "#fff"
    assert hex_color((0x11, 0x22, 0x34)) == "#112234"
