"""Questions and answers: what stands where, and which can be asked at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.questions import Answer, Question, answerable, check, places_of

PASSAGE = "The Germans saw a man. A man-made man saw Germany."


def question(passage=PASSAGE, answers=(), text="Who?"):
    return Question("q1", text, passage, tuple(answers))


def test_what_can_be_asked_is_given_back():
    asked = question(answers=[Answer("man", 18), Answer("A man", 23), Answer("man", 18)])
    assert check(asked, "here") is asked
    assert asked.distinct == (Answer("man", 18), Answer("A man", 23))
    assert PASSAGE[asked.answers[0].start : asked.answers[0].stop] == "man"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (question(text=" \n"), "here: the question is empty"),
        (question(passage=""), "here: the passage is empty"),
        (question(text="a\ud800"), r"here: the question is not valid Unicode: 'a\\ud800'"),
        (question(passage="a\udfff"), "here: the passage is not valid Unicode"),
        (question(answers=[Answer(" ", 3)]), "here: an answer is empty"),
        (
            question(answers=[Answer("man", 17)]),
            "here: the answer 'man' is not at character 17 .* reads ' ma'$",
        ),
        (question(answers=[Answer("man", -3)]), "is not at character -3"),
        (question(answers=[Answer("man", 999)]), "character 999 .* the passage has ended$"),
        (question(answers=[Answer("y." + "x" * 60, 48)]), r"'y\.x{38}…' is not at"),
    ],
)
def test_what_cannot_is_told_with_its_place(bad, says):
    with pytest.raises(UserError, match=says) as refusal:
        check(bad, "here")
    assert "\n" not in str(refusal.value)


def test_questions_of_no_answer_are_counted():
    asked = [question(), question(answers=[Answer("man", 18)]), question()]
    assert answerable(asked) == ([asked[1]], 2)
    assert answerable(iter([])) == ([], 0)


def test_an_answer_without_a_place_is_looked_up():
    assert [answer.start for answer in places_of("man", PASSAGE)] == [18, 25, 34]
    assert [answer.start for answer in places_of("German", PASSAGE)] == [4, 42]  # inside words
    assert [answer.start for answer in places_of("man-made", PASSAGE)] == [25]
    assert places_of("men", PASSAGE) == () and places_of("the", PASSAGE) == ()
    assert [answer.start for answer in places_of("$5.", "US$5. $5.0")] == [2, 6]


@given(st.text("ab .", max_size=30), st.text("ab .", min_size=1, max_size=3))
def test_every_place_holds_the_answer_and_some_is_found_if_any_is_there(passage, text):
    places = places_of(text, passage)
    assert bool(places) == (text in passage)
    assert all(passage[answer.start : answer.stop] == answer.text == text for answer in places)
