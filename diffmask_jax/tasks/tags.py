"""Part-of-speech tags of sentences given as words: read from a file, or predicted by spaCy."""

from collections.abc import Sequence
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.files import reading
from diffmask_jax.tasks.trees import Sentence


def read_tags(path: str | Path, sentences: Sequence[Sentence]) -> list[tuple[str, ...]]:
    """The tag of every word of every sentence, from a file of one JSON object per sentence.

    A line is `{"words": ["It", "works"], "upos": ["PRON", "VERB"]}`; other keys are ignored.

    Raises:
      UserError: the file cannot be read, is not UTF-8, has too few or too many lines, or a line
        is not such an object or has other words than its sentence.
    """
    with reading(path):
        text = Path(path).read_bytes().decode("utf-8-sig")
    # Not splitlines(), which would also break lines at characters that JSON may contain.
    lines = text.rstrip().split("\n") if text.strip() else []
    if len(lines) != len(sentences):
        raise UserError(
            f"{path}:{len(lines)}: the file ends after {len(lines)} tagged sentences, but there "
            f"are {len(sentences)} sentences: is it for another split?"
        )
    return [
        _parse(line, sentence.words, f"{path}:{number}")
        for number, (line, sentence) in enumerate(zip(lines, sentences, strict=True), start=1)
    ]


def tag(sentences: Sequence[Sentence], model: str = "en_core_web_sm") -> list[tuple[str, ...]]:
    """The Universal POS tag of every given word of every sentence, by a spaCy model.

    Raises:
      UserError: spaCy or its model is not installed.
    """
    with needs("tagging", extra="pos"):
        import spacy
        from spacy.tokens import Doc
    try:
        pipeline = spacy.load(model)
    except OSError as error:
        raise UserError(
            f"spaCy's model {model} is not installed: run `python -m spacy download {model}`"
        ) from error
    documents = (Doc(pipeline.vocab, words=list(sentence.words)) for sentence in sentences)
    return [tuple(word.pos_ for word in document) for document in pipeline.pipe(documents)]


def _parse(line: str, words: tuple[str, ...], where: str) -> tuple[str, ...]:
    entry = json_files.parse(line, where)
    tagged, tags = (_strings(entry, key, where) for key in ("words", "upos"))
    if len(tagged) != len(words):
        raise UserError(f"{where}: {len(tagged)} words, but the sentence has {len(words)}")
    if len(tags) != len(tagged):
        raise UserError(f"{where}: {len(tags)} tags for {len(tagged)} words")
    for number, (there, here) in enumerate(zip(tagged, words, strict=True), start=1):
        if there != here:
            raise UserError(f"{where}: word {number} is {there!r}, but {here!r} in the sentence")
    return tuple(tags)


def _strings(entry: dict, key: str, where: str) -> list[str]:
    value = entry.get(key)
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise UserError(f'{where}: "{key}" must be a list of strings')
    return value
