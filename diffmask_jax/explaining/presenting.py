"""The output of explanations: to the terminal, as a picture, a page or lines of JSON."""

import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from diffmask_jax.explaining import streaming
from diffmask_jax.explaining.explanation import Explanation, page_of
from diffmask_jax.render import terminal
from diffmask_jax.render.heatmap_picture import write_picture
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.runtime.growing_file import GrowingFile
from diffmask_jax.runtime.json_files import dumps
from diffmask_jax.runtime.messages import visible

Explained = Iterable[tuple[str, Explanation]]
"""The name of each text, such as its line in a file, and its explanation."""


def write_files(
    explain: Callable[[int], Explained],
    identity: str,
    picture: Path | None,
    html_page: Path | None,
    jsonl: Path | None,
) -> None:
    """Write the requested files. Raises: UserError if one cannot be written.

    Only what a page needs of each explanation is kept in memory. Lines of JSON are written by
    portions; those that an earlier process has written are not computed again, unless a page needs
    all texts.

    explain: (how many texts to skip) -> the explanations of the others
    identity: identifies them, as in `GrowingFile`
    """
    entries, assessment = [], None
    with contextlib.ExitStack() as files:
        lines = None
        if jsonl:
            anew = picture is not None or html_page is not None
            lines = files.enter_context(GrowingFile(jsonl, identity, streaming.PORTION, anew))
        for row, explanation in explain(lines.done if lines else 0):
            if picture:
                write_picture(explanation.heatmap(), picture)
            if html_page:
                entries.append(explanation.entry())
                assessment = explanation.assessment
            if lines:
                lines.add(dumps({"row": row} | explanation.to_dict(), plain=False))
    if html_page:
        write_atomically(html_page, page_of(entries, "What the prediction needs", assessment))


def print_all(explained: Explained, color: bool, width: int, all_rows: bool) -> None:
    """Draw each explanation in the terminal as it comes, with blank lines in between.

    If it was replayed, a line says what the model answers from what is kept at the top layer.
    """
    for number, (_, each) in enumerate(explained):
        drawn = terminal.draw(each.heatmap(), color=color, width=width, all_rows=all_rows)
        text = "\n" * (number > 0) + drawn + _replayed(each)
        tqdm.write(text, file=sys.stdout, end="")  # above the bar


def _replayed(explanation: Explanation) -> str:
    replay, top = explanation.replay(), len(explanation.layers) - 1
    if replay is None:
        return ""
    return f"with {replay.left(top)} kept: {visible(replay.line(top))}\n"
