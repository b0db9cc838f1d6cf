"""The curves of a run, per layer and step, as a picture in its folder."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffmask_jax.errors import UserError
from diffmask_jax.render.curves_png import Line, Quantity, picture
from diffmask_jax.runtime.files import write_in
from diffmask_jax.runtime.messages import say
from diffmask_jax.training.curve_log import read_curves
from diffmask_jax.training.run_folder import CURVE_PICTURE
from diffmask_jax.training.settled import FEWEST

POINTS = 40  # per line: calls are averaged, since a single call's numbers are mostly noise


def draw(folder: Path, margin: float, layers: tuple[str, ...]) -> None:
    """Draw the masked share, D beside m (nats) and λ of every layer, in up to 40 averaged points.

    A run of fewer than 16 calls has no picture. If it cannot be drawn or written, a warning says
    so, and training goes on.
    """
    steps, curves = read_curves(folder)
    if len(steps) < FEWEST:
        return
    parts = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
    last = steps[[part[-1] for part in parts]]
    played = _means(curves.played, parts)

    def lines(values: Float[np.ndarray, "P L"]) -> dict[str, Line]:
        return {name: Line(last, values[:, n]) for n, name in enumerate(layers)}

    def of_played(values: Float[np.ndarray, "N L"]) -> dict[str, Line]:
        whole = np.where(played > 0, played, np.nan)
        return lines(_means(values, parts) / whole)

    quantities = [
        Quantity("masked share", of_played(curves.masked), percent=True),
        Quantity("D (nats)", of_played(curves.divergence), level=("margin", margin)),
        Quantity("λ", lines(_means(curves.multiplier, parts))),
    ]
    try:
        title = f"{folder.resolve().name}: every layer in training"
        write_in(folder, CURVE_PICTURE, picture(title, quantities))
    except UserError as error:
        say(f"the curves were not drawn: {error}")


def _means(values: Float[np.ndarray, "N L"], parts: list[np.ndarray]) -> Float[np.ndarray, "P L"]:
    return np.array([values[part].mean(axis=0) for part in parts])
