"""Figures 3 and 11: one example by every method, and the hidden states of the toy model."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from matplotlib.figure import Figure

from diffmask_jax.models.toy import ToyInputs
from diffmask_jax.render.picture import save
from experiments.common.figures import ORANGE, SLATE

IN_QUERY, OTHER = ORANGE, SLATE


def choose_example(inputs: ToyInputs, truth: Bool[Array, "S N T"]) -> int:
    """The first seed's first example of at least 8 digits, with n more often than m, m twice, and
    two others.

    It is long and mixed enough to show what a method keeps, and chosen without any attribution.
    """
    inputs, truth = jax.tree.map(lambda a: a[0], (inputs, truth))
    n, m = (
        jnp.sum(inputs.valid & (inputs.digits == inputs.query[:, i : i + 1]), axis=1)
        for i in (0, 1)
    )
    length, others = jnp.sum(inputs.valid, axis=1), jnp.sum(inputs.valid & ~truth, axis=1)
    return int(jnp.argmax((length >= 8) & (n > m) & (m >= 2) & (others >= 2)))


def figure_3(
    path: Path, inputs: ToyInputs, example: int, rows: dict[str, Float[Array, " T"]]
) -> None:
    """Attributions for one example, one row per method, each scaled to sum to one."""
    length = int(jnp.sum(inputs.valid[example]))
    digits, query = inputs.digits[example, :length], inputs.query[example]
    values = np.stack([np.asarray(row[:length]) for row in rows.values()])
    values = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12)

    figure = Figure(figsize=(0.62 * length + 2.9, 0.46 * len(rows) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=0.35, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        shade = "white" if value > 0.2 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xticks(range(length), [str(d) for d in np.asarray(digits)], fontsize=13)
    for label, digit in zip(axes.get_xticklabels(), np.asarray(digits), strict=True):
        label.set_color(IN_QUERY if digit in np.asarray(query) else OTHER)
        label.set_fontweight("bold" if digit in np.asarray(query) else "normal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(
        f"Are there more {query[0]}s than {query[1]}s?  Attributions sum to 1", fontsize=11
    )
    save(figure, path)


def figure_11(
    path: Path, states: Float[Array, "N T 2"], valid: Bool[Array, "N T"], truth: Bool[Array, "N T"]
) -> None:
    """The 2-d hidden states of one model: are those of queried digits separate?"""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for mask, color, name in (
        (truth, IN_QUERY, "digit in the query"),
        (valid & ~truth, OTHER, "other digit"),
    ):
        points = np.asarray(states)[np.asarray(mask)]
        axes.scatter(
            points[:, 0], points[:, 1], s=5, alpha=0.35, color=color, linewidths=0, label=name
        )
    axes.legend(frameon=False, markerscale=3)
    axes.set_xlabel("dimension 1")
    axes.set_ylabel("dimension 2")
    axes.set_title("Hidden states of the counting model", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
