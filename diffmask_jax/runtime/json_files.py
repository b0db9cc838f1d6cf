"""Reading and writing JSON: of bounded size and depth, of the expected types, without NaN.

Files that are read may come from anywhere; an error is one line with the file and the place in it.
NaN is never written, since it is not JSON and other readers refuse it.
"""

import collections
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import reading
from diffmask_jax.runtime.messages import excerpt

LARGEST = 2**28  # bytes of a file that is read as a whole
DEEPEST = 64  # levels of nested objects and lists
LONGEST = 300  # digits of a whole number, which still fits in a float

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # how JSON spells the halves of a surrogate pair
_KINDS = {
    dict: "a JSON object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def read(path: Path, kind: type = dict) -> Any:
    """The value in a file, of a type. Raises: UserError if missing, damaged or of another type."""
    return parse(_text(path), str(path), kind)


def read_lines(path: Path, kinds: Mapping[str, type], cut: bool = False) -> list[dict[str, Any]]:
    """The objects in a file, one per line; each has at least the named fields, of these types.

    cut: ignore a last line without its newline, which a killed process may leave

    Raises: UserError if the file is missing or a line is invalid, naming its number.
    """
    *lines, last = _text(path).split("\n")
    lines += [last] * (not cut)
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append(parse(line, f"{path}:{number}"))
            for name, kind in kinds.items():
                field(found[-1], name, kind, f"{path}:{number}")
    return found


def parse(text: str, where: str, kind: type = dict) -> Any:
    """The value in a JSON text, of a type (`object`: any).

    A name that occurs twice in an object is refused, since one of the two would be lost; so are
    numbers that are not finite (NaN, 1e999), and halves of surrogate pairs. where: the place, for
    messages.

    Raises: UserError if it is not such JSON.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_float,
            parse_int=_int,
        )
        _check_depth(value)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise UserError(f"{where}: not JSON (more than {DEEPEST} levels deep)") from error
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: not JSON (not valid Unicode: half a surrogate pair)") from error
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    return check(value, kind, f"{where}: it")


def field(entry: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A field of an object, of a type. Raises: UserError if it is missing or of another type."""
    if name not in entry:
        raise UserError(f"{where}: the field {name!r} is missing")
    return check(entry[name], kind, f"{where}: the field {name!r}")


def check(value: Any, kind: type, what: str) -> Any:
    """The value itself if it is of a type: a whole number is a number, but true is not.

    what: the beginning of the message

    Raises: UserError if it is not of that type.
    """
    if kind is float and type(value) is int:
        return value
    if kind is not object and type(value) is not kind:
        raise UserError(f"{what} must be {_KINDS[kind]}, not {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value as messages quote it: the beginning of its JSON."""
    return excerpt(json.dumps(value, ensure_ascii=False))


def dumps(value: Any, indent: int | None = None, *, plain: bool = True) -> str:
    """A value as standard JSON.

    plain: escape characters that are not ASCII

    Raises: UserError if a number is not finite, naming its place.
    """
    try:
        return json.dumps(value, ensure_ascii=plain, indent=indent, allow_nan=False)
    except ValueError as error:
        place = next(_not_numbers(value, ""), "")
        raise UserError(f"a result is not a number ({place}): nothing was written") from error


def finite(value: float | int) -> float | int | None:
    """The value, or None if it is not finite, such as the correlation of a constant."""
    return value if math.isfinite(value) else None


def jsonable(value: Any, digits: int = 6) -> Any:
    """A value as JSON types: NamedTuples become objects, arrays and tuples lists; floats have so
    many digits, or become None if they are not finite."""
    if hasattr(value, "tolist"):  # an array or a NumPy number
        value = value.tolist()
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: jsonable(own, digits) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(own, digits) for own in value]
    return finite(float(f"{value:.{digits}g}")) if isinstance(value, float) else value


def _not_numbers(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{place.lstrip('.')} is {value}"
    elif isinstance(value, dict | list | tuple):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _not_numbers(part, f"{place}.{name}")


def _text(path: Path) -> str:
    """The text of a file, but not of a pipe, which may never end."""
    if not os.path.isfile(path):
        raise UserError(f"there is no {path.name} in {path.parent}")
    with reading(path):
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} is larger than {LARGEST >> 20} MiB: it cannot be such a file")
        return path.read_bytes().decode("utf-8-sig")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice, _ = collections.Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {twice[:40]!r} appears twice in one object")
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:LONGEST])


def _int(text: str) -> int:
    return int(text) if len(text) <= LONGEST else _no_number(text[:20] + "…")


def _check_depth(value: Any) -> None:
    """Checked level by level, since recursion would fail on a value that is too deep."""
    level = [value]
    for _ in range(DEEPEST + 1):
        if not level:
            return
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, dict | list)
        ]
    raise RecursionError
