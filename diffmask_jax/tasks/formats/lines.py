"""Plain text: one text a line."""

from pathlib import Path

from diffmask_jax.tasks.formats.table import Table, read_text


def read_lines(path: Path) -> Table:
    """The lines that are not blank, as one column called text.

    Raises:
      UserError: the file cannot be read, or is no UTF-8 text.
    """
    # Not splitlines(): it would also break a line at characters that a text may hold.
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbered = [(str(number), line) for number, line in enumerate(lines, 1) if line.strip()]
    texts = [line for _, line in numbered]
    names = ["text"] if texts else []
    return Table(names, lambda name: texts, [number for number, _ in numbered])
