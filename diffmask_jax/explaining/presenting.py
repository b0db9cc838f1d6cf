"""Explanations on their way out: to the terminal, a picture, a page or lines of JSON."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.render import html, terminal
from diffmask_jax.runtime.files import write_atomically


def explain_all(explainer: Explainer, texts: Sequence[str], truncate: bool) -> list[Explanation]:
    """Explanations in the order of the texts, with a progress bar if someone is watching."""
    encoded = explainer.encode(texts, truncate)
    found: dict[int, Explanation] = {}
    with tqdm(total=len(texts), desc="explain", unit="text", disable=None) as bar:
        for index, explanation in explainer.stream(texts, encoded):
            found[index] = explanation
            bar.update()
    return [found[index] for index in range(len(texts))]


def write_files(
    explanations: Sequence[Explanation],
    png: Path | None,
    html_page: Path | None,
    jsonl: Path | None,
) -> None:
    """Write whichever files were asked for. Raises: UserError if one cannot be written."""
    if png:
        explanations[0].save(png)
    if html_page:
        heatmaps = [explanation.heatmap() for explanation in explanations]
        write_atomically(html_page, html.page(heatmaps, "What the prediction needs"))
    if jsonl:
        lines = (json.dumps(e.to_dict(), ensure_ascii=False) for e in explanations)
        write_atomically(jsonl, "".join(line + "\n" for line in lines))


def print_all(explanations: Sequence[Explanation], color: bool, width: int, all_rows: bool) -> None:
    """Draw each explanation in the terminal, a blank line between two."""
    drawn = (
        terminal.draw(e.heatmap(), color=color, width=width, all_rows=all_rows)
        for e in explanations
    )
    sys.stdout.write("\n".join(drawn))
