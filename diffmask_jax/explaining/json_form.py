"""The fields of an explanation as JSON types, and back."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from diffmask_jax.errors import UserError
from diffmask_jax.explaining.replayed import Replayed, rounded
from diffmask_jax.explaining.word import Word
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.answers import Answer, AnswerSpan
from diffmask_jax.models.heads import HEADS, REGRESSION, SPANS
from diffmask_jax.models.problem_types import SPAN_OUTPUTS
from diffmask_jax.runtime.json_files import check, field, shown
from diffmask_jax.tasks import questions
from diffmask_jax.training import assessment

Typed = TypeVar("Typed", Word, AnswerSpan, questions.Answer)

PROBLEM_TYPES = (*HEADS, SPANS.problem_type)


def json_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `Explanation` as JSON types, without those that it lacks."""
    answer, doubt = fields["answer"], fields["doubt"]
    replayed, verdict = fields["replayed"], fields["assessment"]
    said = _json_of_texts(fields) if answer.span is None else _json_of_a_question(fields)
    return {
        **said,
        "line": answer.line,
        "cut_to": fields["cut_to"],
        "problem_type": fields["problem_type"],
        **({} if doubt is None else {"doubt": doubt}),
        "gate": fields["gate"],
        "layers": list(fields["layers"]),
        "tokens": list(fields["tokens"]),
        "shown": list(fields["shown"]),
        "offsets": list(fields["offsets"]),
        "parts": list(fields["parts"]),
        "words": [word._asdict() for word in fields["words"]],
        "keep": [rounded(row) for row in fields["keep"]],
        **({} if replayed is None else {"replayed": replayed.to_dict()}),
        **({} if verdict is None else {"probe": assessment.as_json(verdict)}),
    }


def _json_of_texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    first, *second = fields["texts"]
    is_regression = fields["problem_type"] == REGRESSION.problem_type
    outputs = dict(zip(fields["labels"], rounded(fields["outputs"]), strict=True))
    return {
        "text": first,
        **({"pair": second[0]} if second else {}),
        "prediction": fields["answer"].decision,
        "outputs" if is_regression else "probabilities": outputs,
    }


def _json_of_a_question(fields: Mapping[str, Any]) -> dict[str, Any]:
    question, passage = fields["texts"]
    answer = fields["answer"]
    return {
        "question": question,
        "passage": passage,
        "prediction": answer.decision,
        "answer": answer.span.to_dict(),
        "gold": [gold._asdict() for gold in fields["gold"]],
        "probabilities": dict(zip(SPAN_OUTPUTS, map(rounded, fields["outputs"].T), strict=True)),
    }


def fields_of(told: dict[str, Any], where: str) -> dict[str, Any]:
    """The inverse of `json_of`: the fields of an `Explanation`. where: the file, for messages.

    Raises: UserError if a field is missing, or of the wrong kind or size.
    """
    try:
        fields = _fields(told, where)
        layers, again = fields["layers"], fields["replayed"]
        counts = {len(fields[name]) for name in ("tokens", "shown", "offsets", "parts")}
        rows = {len(layers), len(fields["keep"]), *([len(again.answers)] if again else [])}
        if len(counts) > 1 or len(rows) > 1:
            raise ValueError("its tokens and layers differ in number")
        words, last = fields["words"], len(fields["tokens"]) - 1
        if not words or not all(0 <= word.first <= word.last <= last for word in words):
            raise ValueError("its words do not match its tokens")
        if not set(fields["parts"]) <= set(range(-1, len(fields["texts"]))):
            raise ValueError("its tokens belong to texts that it has not")
        if (span := fields["answer"].span) is not None and not (
            0 <= span.first <= span.last <= last == len(fields["outputs"]) - 1
        ):
            raise ValueError("its answer does not match its tokens")
        return fields
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{where} is not an explanation ({error})") from error


def _fields(told: dict[str, Any], where: str) -> dict[str, Any]:
    tokens = _strings(told, "tokens", where)
    keep = [_numbers(row, len(tokens)) for row in field(told, "keep", list, where)]
    if not all(((row >= 0) & (row <= 1)).all() for row in keep):
        raise ValueError("a keep probability is outside [0, 1]")
    said = _of_a_question(told, where) if "question" in told else _of_texts(told, where)
    line = field(told, "line", str, where)
    return {
        "tokens": tokens,
        "shown": _strings(told, "shown", where),
        "offsets": tuple(
            None if place is None else (int(place[0]), int(place[1]))
            for place in field(told, "offsets", list, where)
        ),
        "parts": tuple(map(int, field(told, "parts", list, where))),
        "words": tuple(_typed(Word, word, where) for word in field(told, "words", list, where)),
        "layers": _strings(told, "layers", where),
        "keep": np.stack(keep),
        "cut_to": _cut_to(told, where),
        "problem_type": _one_of(PROBLEM_TYPES, told, "problem_type"),
        "gate": _one_of(GATES, told, "gate"),
        "replayed": _replayed(told["replayed"], where) if "replayed" in told else None,
        "assessment": _assessment(told, where) if "probe" in told else None,
        "doubt": field(told, "doubt", str, where) if "doubt" in told else None,
        "answer": Answer(_decision(told["prediction"]), line, said.pop("span")),
        **said,
    }


def _cut_to(told: dict[str, Any], where: str) -> int | None:
    """Files of older versions have it for questions alone."""
    return None if told.get("cut_to") is None else int(field(told, "cut_to", int, where))


def _of_texts(told: dict[str, Any], where: str) -> dict[str, Any]:
    pair = [field(told, "pair", str, where)] if "pair" in told else []
    outputs = field(told, "outputs" if "outputs" in told else "probabilities", dict, where)
    if not outputs:
        raise ValueError("it has no outputs")
    return {
        "texts": (field(told, "text", str, where), *pair),
        "labels": tuple(outputs),
        "outputs": _numbers(list(outputs.values())),
        "span": None,
    }


def _of_a_question(told: dict[str, Any], where: str) -> dict[str, Any]:
    shares = field(told, "probabilities", dict, where)
    return {
        "texts": (field(told, "question", str, where), field(told, "passage", str, where)),
        "labels": SPAN_OUTPUTS,
        "outputs": np.stack([_numbers(shares[end]) for end in SPAN_OUTPUTS], axis=1),
        "span": _typed(AnswerSpan, told["answer"], where),
        "gold": tuple(_typed(questions.Answer, answer, where) for answer in told["gold"]),
    }


def _replayed(told: dict[str, Any], where: str) -> Replayed:
    lines = _strings(told, "line", f"{where}: replayed")
    # Of a question; files of older versions have it for the whole text alone.
    spans: list[AnswerSpan | None] = [
        _typed(AnswerSpan, span, where) for span in told.get("answer", [])
    ]
    spans = spans or [None] * len(lines)
    answers = zip(map(_decision, told["prediction"]), lines, spans, strict=True)
    return Replayed(
        answers=tuple(Answer(*answer) for answer in answers),
        divergence=_numbers(told["divergence"], len(lines)),
        agreement=_numbers(told["agreement"], len(lines)),
        probability=_numbers(told["probability"], len(lines)) if "probability" in told else None,
        whole=told.get("whole"),
    )


def _assessment(told: dict[str, Any], where: str) -> assessment.Assessment:
    return assessment.from_json(field(told, "probe", dict, where))


def _one_of(known: Collection[str], told: dict[str, Any], name: str) -> str:
    if told[name] not in known:
        raise ValueError(f"its {name} is {shown(told[name])}")
    return str(told[name])


def _decision(told: Any) -> Any:
    """A decision, with a tuple for JSON's list."""
    if not isinstance(told, str | int | float | list | tuple):
        raise ValueError(f"its prediction is {shown(told)}")
    return tuple(told) if isinstance(told, list | tuple) else told


def _typed(kind: type[Typed], told: dict[str, Any], where: str) -> Typed:
    """A NamedTuple of numbers and texts, each field of the type that it is annotated with."""
    found = kind(**told)
    for name, annotated in kind.__annotations__.items():
        check(getattr(found, name), annotated, f"{where}: the {name} of one of its places")
    return found


def _strings(told: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = field(told, name, list, where)
    return tuple(check(value, str, f"{where}: one of its {name}") for value in values)


def _numbers(values: list[float], count: int | None = None) -> Float[np.ndarray, " N"]:
    array = np.array(values, np.float32)
    if array.ndim != 1 or count not in (None, len(array)):
        raise ValueError(f"there should be {count} numbers, not {array.shape}")
    return array
