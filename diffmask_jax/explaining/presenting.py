"""Explanations on their way out: to the terminal, a picture, a page or lines of JSON."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.render import terminal
from diffmask_jax.render.heatmap_picture import write_picture
from diffmask_jax.render.page import page
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.runtime.messages import visible
from diffmask_jax.tasks.task import Examples


def explain_all(
    explainer: Explainer, examples: Examples, truncate: bool, replay: bool = False
) -> list[Explanation]:
    """Explanations in the order of the texts, with a progress bar if someone is watching.

    replay: with what the model says at every layer from what is kept there.

    Those of questions have the gold answers of the examples.
    """
    texts = examples.texts
    encoded = explainer.model.encode(texts, truncate, examples.rows)
    explanations: dict[int, Explanation] = {}
    with tqdm(total=len(texts), desc="explain", unit="text", disable=None) as bar:
        for index, explanation in explainer.stream(texts, encoded, replay):
            explanations[index] = explanation
            bar.update()
    in_order = [explanations[index] for index in range(len(texts))]
    if examples.gold is None or not explainer.model.head.spans:
        return in_order
    pairs = zip(in_order, examples.gold, strict=True)
    return [explanation.with_gold(answers) for explanation, answers in pairs]


def write_files(
    explanations: Sequence[Explanation],
    rows: Sequence[str],
    picture: Path | None,
    html_page: Path | None,
    jsonl: Path | None,
) -> None:
    """Write whichever files were asked for. Raises: UserError if one cannot be written.

    rows: what each text is called in its file; every line of JSON begins with it.
    """
    if picture:
        write_picture(explanations[0].heatmap(), picture)
    if html_page:
        entries = [explanation.entry() for explanation in explanations]
        write_atomically(html_page, page(entries, "What the prediction needs"))
    if jsonl:
        lines = (
            dumps({"row": row} | explanation.to_dict(), plain=False)
            for row, explanation in zip(rows, explanations, strict=True)
        )
        write_atomically(jsonl, "".join(line + "\n" for line in lines))


def print_all(explanations: Sequence[Explanation], color: bool, width: int, all_rows: bool) -> None:
    """Draw each explanation in the terminal, a blank line between two.

    Where it was replayed, a line says what the model answers from what is kept at the top layer.
    """
    drawn = (
        terminal.draw(e.heatmap(), color=color, width=width, all_rows=all_rows) + _replayed(e)
        for e in explanations
    )
    sys.stdout.write("\n".join(drawn))


def _replayed(explanation: Explanation) -> str:
    replay, top = explanation.replay(), len(explanation.layers) - 1
    if replay is None:
        return ""
    return f"with {replay.left(top)} kept: {visible(replay.line(top))}\n"
