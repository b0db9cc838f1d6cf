"""Checks of what an explainer is asked for: a question with its passage, no target, and texts
of the kind that its probe was trained on."""

from diffmask_jax.data.texts import Text
from diffmask_jax.errors import UserError


def question_pair(texts: object, question: object, passage: object) -> tuple[str, str]:
    """A question and its passage as a pair.

    Raises: UserError if either is missing or not a str, or texts are given as well.
    """
    if texts is not None:
        raise UserError("give texts, or a question and its passage, not both")
    if not isinstance(question, str) or not isinstance(passage, str):
        raise UserError("a question goes with its passage: give both, each as a str")
    return question, passage


def check_no_target(target: object) -> None:
    """Raises: UserError for a target, an argument of other attribution methods."""
    if target is not None:
        raise UserError(
            f"target={target!r} is not supported: a probe keeps what the model's whole output "
            "distribution needs, so one explanation holds for all outputs; their values are in "
            ".outputs"
        )


def other_kind(text: Text, pairs: bool | None) -> str | None:
    """A reason to doubt what a probe of pairs says of single texts, or the reverse.

    pairs: whether it was trained on pairs; None if unknown
    """
    if pairs is None or pairs != isinstance(text, str):
        return None
    kinds = ("pairs of texts", "single texts") if pairs else ("single texts", "pairs of texts")
    return "not to be trusted: the probe was trained on {}, not on {}".format(*kinds)
