"""Plain text: one text a line."""

from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.columns import TEXT
from diffmask_jax.tasks.formats.table import Table, read_text

LOOKED_AT = 100  # lines


def read_lines(path: Path) -> Table:
    """The lines that are not blank, as one column called text.

    Raises:
      UserError: the file cannot be read, is no UTF-8 text, or is a table by another name.
    """
    # Not splitlines(): it would also break a line at characters that a text may hold.
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbered = [(str(number), line) for number, line in enumerate(lines, 1) if line.strip()]
    texts = [line for _, line in numbered]
    if kind := _kind_of_table(texts[:LOOKED_AT]):
        raise UserError(
            f"{path} is no text a line but a table: let its name end in {kind}, or, if its lines "
            "are to be read as they are, make each a string of a .jsonl file"
        )
    names = ["text"] if texts else []
    return Table(names, lambda name: texts, [number for number, _ in numbered])


def _kind_of_table(texts: list[str]) -> str | None:
    """The ending of a file of such lines, if they are objects of JSON, or two and more have cells.

    Of tabs as many in every line; of commas, where the first line names a column of texts.
    """
    if texts and all(text.startswith('{"') and text.endswith("}") for text in texts):
        return ".jsonl"
    if len(texts) < 2:
        return None
    tabs = {text.count("\t") for text in texts}
    if len(tabs) == 1 and tabs != {0}:
        return ".tsv"
    names = [name.strip(' "').lower() for name in texts[0].split(",")]
    are_names = len(names) > 1 and all(name and " " not in name for name in names)
    if are_names and set(names) & set(TEXT) and all("," in text for text in texts):
        return ".csv"
    return None
