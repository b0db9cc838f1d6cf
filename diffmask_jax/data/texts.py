"""Texts and pairs of texts, and the forms in which people pass many of them."""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, TypeGuard

from diffmask_jax.errors import UserError

Text = str | tuple[str, str]
"""One text, or a pair that a model reads together, such as a question and a passage."""


def is_one(given: object) -> TypeGuard[Text]:
    """Whether this is a single text or a single pair: a str, or a tuple of exactly two."""
    if isinstance(given, tuple):
        return len(given) == 2 and all(isinstance(half, str) for half in given)
    return isinstance(given, str)


def halves_of(text: Text) -> tuple[str, ...]:
    """A text alone, or both texts of a pair."""
    return (text,) if isinstance(text, str) else text


def texts_of(given: object) -> list[Text]:
    """The texts or pairs in any ordered iterable: list, tuple, generator, NumPy array, Series.

    An item is a text if it is a str, and a pair if it is a tuple or list of exactly two str. The
    type of `given` does not matter: ("a", "b") and ["a", "b"] are two texts, [("a", "b")] is a
    pair. A pandas Series gives its values in order, whatever its index.

    Raises:
      UserError: it is a single str, bytes, a dict, a set, a table, or not an iterable; or an item
        is neither text nor pair (the message has its number, from 1).
    """
    return list(texts_in(given))


def texts_in(given: object) -> Iterator[Text]:
    """`texts_of`, lazily; only the type of `given` is checked at once.

    Raises: UserError as `texts_of` does, for a bad item when its turn comes.
    """
    unordered = isinstance(given, str | bytes | bytearray | Mapping | Set)
    if unordered or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
        raise UserError(f"pass many texts as a list of texts or of pairs, not as {_kind(given)}")
    return (_text_of(item, number) for number, item in enumerate(given, start=1))


def _text_of(item: Any, number: int) -> Text:
    if isinstance(item, str):
        return str(item)  # NumPy has its own kind of str
    if isinstance(item, tuple | list):
        if len(item) == 2 and all(isinstance(half, str) for half in item):
            return str(item[0]), str(item[1])
        kinds = ", ".join(_kind(half) for half in item[:3]) + ", …" * (len(item) > 3)
        raise UserError(f"text {number} is a {type(item).__name__} of ({kinds}): a pair is two str")
    raise UserError(f"text {number} is {_kind(item)}: a text is a str, a pair is a tuple of two")


def _kind(value: object) -> str:
    """The type of a value, with the value if that is short: None, float nan, dict."""
    if value is None:
        return "None"
    shown = repr(value) if isinstance(value, bool | int | float) else ""
    return f"{type(value).__name__} {shown}".strip()
