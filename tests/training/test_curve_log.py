"""Curves are one number for every layer in every line, or their file is named."""

import json
import re

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.training import curve_log, run_folder
from diffmask_jax.training.curve_log import CurveLog
from diffmask_jax.training.settled import Curves, told, verdict_on

MEANS = {name: [0.5, 1.0] for name in Curves._fields}


def write(folder, **changes) -> None:
    lines = [{"step": 1} | MEANS, {"step": 2} | MEANS | changes]
    (folder / run_folder.CURVES).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("values", [["0.5", "1"], [None, None], [0.5], [[0.5], [1.0]], [{}, {}]])
def test_what_is_no_number_of_every_layer_is_named(tmp_path, values):
    write(tmp_path, masked=values)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / run_folder.CURVES} is damaged")):
        curve_log.read_curves(tmp_path)
    write(tmp_path, **dict.fromkeys(Curves._fields, values))
    with pytest.raises(UserError, match="is damaged"):
        curve_log.read_curves(tmp_path)


def test_a_network_of_other_layers_does_not_go_on_with_them(tmp_path):
    write(tmp_path)
    log = CurveLog(tmp_path, 2, writes=False, layers=2)
    log.add(3, MEANS)
    with pytest.raises(UserError, match="one number for every layer"):
        log.add(4, {name: [0.5, 1.0, 2.0] for name in Curves._fields})
    assert log.curves().masked.shape == (3, 2)


def test_a_run_whose_curves_are_gone_has_not_settled(tmp_path):
    curves = CurveLog(tmp_path, 2, writes=False, layers=2).curves()
    assert curves.masked.shape == (0, 2)
    assert told(verdict_on(curves, 0.1), ["W", "E"], 0.1).startswith("not settled: W (moving")
