"""The picture of a run's curves: what it averages, and when there is none."""

import numpy as np
import pytest

from diffmask_jax.training import curve_picture
from diffmask_jax.training.curve_log import CurveLog

LAYERS = ("W", "1")


def logged(folder, calls: int) -> None:
    """Each layer is played by one call of two, alone: what it adds to the batch is its mean."""
    log = CurveLog(folder, 0, True, 2)
    for call in range(calls):
        there = [float(call % 2 == n) for n in range(2)]
        numbers = {"divergence": 0.2, "masked": 0.5, "agreement": 1.0}
        means = {name: [value * own for own in there] for name, value in numbers.items()}
        log.add(4 * (call + 1), means | {"played": there, "multiplier": [1.0, 2.0]})
    log.close()


def test_a_layer_s_curve_is_of_the_calls_that_played_it(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        curve_picture, "picture", lambda title, panels: drawn.append(panels) or b"picture"
    )
    logged(tmp_path, 200)
    curve_picture.draw(tmp_path, 0.1, LAYERS)
    assert (tmp_path / "curves.png").read_bytes() == b"picture"
    masked, divergence, multiplier = drawn[0]
    assert divergence.level == ("margin", 0.1) and masked.percent
    for panel, values in ((masked, (0.5, 0.5)), (divergence, (0.2, 0.2)), (multiplier, (1, 2))):
        for name, value in zip(LAYERS, values, strict=True):
            np.testing.assert_allclose(panel.lines[name].values, value)
            assert panel.lines[name].steps.tolist() == list(range(20, 801, 20))


@pytest.mark.parametrize("calls", [0, 15])
def test_few_calls_are_no_curve(tmp_path, calls):
    logged(tmp_path, calls)
    curve_picture.draw(tmp_path, 0.1, LAYERS)
    assert not (tmp_path / "curves.png").exists()


def test_a_picture_that_cannot_be_written_is_said_and_ends_nothing(tmp_path, capsys):
    logged(tmp_path, 16)
    (tmp_path / "curves.png").mkdir()
    curve_picture.draw(tmp_path, 0.1, LAYERS)
    assert capsys.readouterr().err.startswith("the curves were not drawn: cannot write ")
