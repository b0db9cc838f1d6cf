"""Figure 7, what is kept of questions and passages, and Figure 2, methods as highlighted text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffmask_jax.analysis.question_keep import KeptCurves
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.render.comparison import normalise
from diffmask_jax.render.picture import draw_cells, draw_marks, headline, plain_text, save
from diffmask_jax.render.stretches import end, middles, name_columns, stretches
from diffmask_jax.runtime.messages import visible
from experiments.common.figures import BLUE, GREEN, ORANGE, clear, grid, legend_below

LOOKS = {
    "question": ("question tokens", BLUE, "-"),
    "passage": ("passage tokens", ORANGE, "-"),
    "gold": ("gold answers", GREEN, "-"),
    "gold_when_wrong": ("gold answers, answered wrongly", GREEN, "--"),
}
_CELL, _BETWEEN, _LINE = 0.3, 0.7, 0.24  # inches, cells, inches


def kept_figure(path: Path, layers: Sequence[str], panels: Mapping[str, KeptCurves]) -> None:
    """Mean keep probability by layer, one panel per probe."""
    figure = Figure(figsize=(5.2 * len(panels), 3.6), layout="constrained")
    figure.suptitle("What is kept of questions and their passages", fontsize=12, fontweight="bold")
    axes_of = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, curves) in zip(axes_of, panels.items(), strict=True):
        for field, (label, color, dashes) in LOOKS.items():
            axes.plot(layers, getattr(curves, field), dashes, color=color, label=label)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel("layer", fontsize=9)
        _shares(axes)
    axes_of[0].set_ylabel("mean keep probability", fontsize=9)
    legend_below(figure, 4 if len(panels) > 1 else 2)
    save(figure, path)


def faithful_figure(
    path: Path, layers: Sequence[str], panels: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    """Masked share and share of predictions that stay, by layer, one panel per probe."""
    figure = Figure(figsize=(5.2 * len(panels), 3.6), layout="constrained")
    figure.suptitle("What masking leaves of the answers", fontsize=12, fontweight="bold")
    axes_of = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, curves) in zip(axes_of, panels.items(), strict=True):
        for color, (label, values) in zip((BLUE, GREEN, ORANGE), curves.items(), strict=True):
            axes.plot(layers, values, color=color, label=label)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel("layer", fontsize=9)
        _shares(axes)
    legend_below(figure, 3)
    save(figure, path)


def methods_figure(
    path: Path, explanation: Explanation, found: Mapping[str, Float[np.ndarray, " T"]]
) -> None:
    """Figure 2: the tokens of a question and its passage, one row per method, scaled by row."""
    heatmap = explanation.heatmap()
    tokens, names = [visible(token) for token in heatmap.tokens], list(found)
    placed = stretches(heatmap.parts, heatmap.names, between=_BETWEEN)
    shares = normalise(np.stack([found[name] for name in names[::-1]]))
    left, above, below = 1.9, 0.9, 1.3
    wide, high = _CELL * end(placed), _CELL * len(names)
    size = (left + wide + 0.3, above + high + below)
    figure = Figure(figsize=size, facecolor="white")
    axes = figure.add_axes((left / size[0], below / size[1], wide / size[0], high / size[1]))
    for text in placed:
        draw_cells(axes, text.borders, np.arange(len(names) + 1), shares[:, text.own], 1.0)
    name_columns(axes, placed, 0.06 / high)
    axes.set_xticks(middles(placed))
    labels = axes.set_xticklabels(tokens, size=10, **plain_text())
    for label in labels:
        label.set(rotation=55, ha="right", va="top", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(names)) + 0.5)
    axes.set_yticklabels(names[::-1], size=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    draw_marks(figure, labels, heatmap.marks)
    caption = "attribution of word embeddings / largest of the method"
    for number, (line, look) in enumerate(headline(heatmap.title, caption, wide)):
        figure.text(
            left / size[0], 1 - _LINE * (number + 0.9) / size[1], line, **look, **plain_text()
        )
    save(figure, path)


def _shares(axes: Axes) -> None:
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid(axes)
    clear(axes)
