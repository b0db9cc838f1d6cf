"""Files as somebody may have damaged them, or made them on purpose: structured mutations."""

import copy
import json
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

# Texts of JSON that `json.dumps` does not write; each stands for the string that is its key.
RAW = {
    "@deep": "[" * 5000 + "]" * 5000,
    "@open": "{" * 3000,
    "@overflow": "1e999",
    "@digits": "9" * 6000,
    "@half": r'"\ud800"',
    "@twice": '{"a": 1, "a": 2}',
}
STRINGS = [
    *("", " ", "a", "\x1b[2J\x1b]0;x\x07", "two\nlines", "\0", "../x", "/etc/passwd", "~nobody/x"),
    *("x" * 5000, "é" * 50, "[UNK]", "gelu", "none", "nan", "\u202e", "\ufeff", "1e400"),
]
NUMBERS = [0, 1, -1, 2, 3, 7, 2**16, 2**31, 2**63, 10**30, -(10**18), 0.5, -1.5, 1e-30, 1e300]
NASTY: list[Any] = [
    *(None, True, False, [], {}, [[]], [None], {"a": {}}, [1, "a"], float("nan"), float("inf")),
    *(*NUMBERS, *STRINGS, *RAW),
]


@st.composite
def json_texts(draw, value: Any) -> bytes:
    """A JSON value, up to three places changed, left out, doubled or renamed; or damaged bytes."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        value = _changed(draw, value)
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    content = text.encode()
    return draw(damaged(content)) if draw(st.integers(0, 5)) == 0 else content


def _changed(draw, value: Any) -> Any:
    places = list(_places(value))
    if not places:
        return copy.deepcopy(draw(st.sampled_from(NASTY)))
    whole, name = draw(st.sampled_from(places))
    match draw(st.sampled_from(["replace", "replace", "replace", "leave out", "rename", "double"])):
        case "replace":
            whole[name] = copy.deepcopy(draw(st.sampled_from(NASTY)))
        case "leave out":
            del whole[name]
        case "rename" if isinstance(whole, dict):
            whole[draw(st.sampled_from(STRINGS))] = whole.pop(name)
        case "double" if isinstance(whole, list):
            whole.append(copy.deepcopy(whole[name]))
        case _:
            whole[name] = copy.deepcopy(draw(st.sampled_from(places))[0])
    return value


def _places(value: Any):
    """(container, key) of everything inside a value."""
    if isinstance(value, dict | list):
        for name in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, name
            yield from _places(value[name])


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes cut short, changed, or with others among them."""
    place = draw(st.integers(0, len(content)))
    more = draw(st.sampled_from([b"\0", b"\xff\xfe", b"\n", b"\r", b'"', b"(", b"[", b"\x1b[2J"]))
    many = draw(st.sampled_from([1, 1, 2, 1000]))
    return draw(
        st.sampled_from(
            [
                content[:place],
                content[:place] + more * many + content[place:],
                content[:place] + more + content[place + len(more) :],
                content[place:],
                content + content,
            ]
        )
    )


@st.composite
def line_texts(draw, content: str) -> bytes:
    """Lines, some of them changed, doubled, left out or in another order; or damaged bytes."""
    lines = content.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        line = lines[place]
        middle = draw(st.integers(0, len(line)))
        nasty = draw(st.sampled_from([*STRINGS, *map(str, NUMBERS), *RAW.values()]))
        lines[place : place + 1] = draw(
            st.sampled_from(
                [[], [line, line], [nasty], [line[:middle] + nasty + line[middle:]], ["", line]]
            )
        ) or ([""] if len(lines) == 1 else [])
    text = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)
    content_ = text.encode("utf-8", "surrogatepass")
    return draw(damaged(content_)) if draw(st.integers(0, 4)) == 0 else content_


@st.composite
def tensor_files(draw, content: bytes) -> bytes:
    """A safetensors file whose header, or some of whose numbers, are others; or damaged bytes."""
    (size,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + size], content[8 + size :]
    match draw(st.sampled_from(["header", "header", "numbers", "numbers", "length", "bytes"])):
        case "header":
            header = draw(json_texts(json.loads(header)))
            return struct.pack("<Q", len(header)) + header + data
        case "numbers":
            numbers = np.frombuffer(data, np.float32).copy()
            place = draw(st.integers(0, len(numbers) - 1))
            numbers[place] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e38, 1e-45, -0.0]))
            return content[: 8 + size] + numbers.tobytes()
        case "length":
            length = draw(st.sampled_from([0, 1, size - 1, size + 1, 2**40, 2**64 - 1]))
            return struct.pack("<Q", length) + header + data
        case _:
            return draw(damaged(content))
