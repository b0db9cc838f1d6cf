"""SQuAD's own files: read whole, and whatever is wrong is named with article and question."""

import copy
import json
from collections import Counter

import pytest
from shared import shared

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.questions import Answer, Question, answerable
from diffmask_jax.tasks.squad_json import parse_squad, read_squad

PASSAGE = "Bees make honey. Caf\u00e9s \U0001f600 sell honey."
FILE = {
    "version": "v2.0",
    "data": [
        {"title": "Empty", "paragraphs": []},
        {
            "title": "Bees",
            "paragraphs": [
                {
                    "context": PASSAGE,
                    "qas": [
                        {
                            "id": "a",
                            "question": "Who makes honey?",
                            "answers": [
                                {"text": "Bees", "answer_start": 0},
                                {"text": "Caf\u00e9s \U0001f600", "answer_start": 17},
                            ],
                            "is_impossible": False,
                        },
                        {
                            "id": "b",
                            "question": "Who sells wax?",
                            "answers": [],
                            "plausible_answers": [{"text": "Caf\u00e9s", "answer_start": 17}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        },
    ],
}
QUESTIONS = [
    Question(
        "a", "Who makes honey?", PASSAGE, (Answer("Bees", 0), Answer("Caf\u00e9s \U0001f600", 17))
    ),
    Question("b", "Who sells wax?", PASSAGE, ()),
]


def test_questions_in_their_order_with_places_in_characters():
    assert parse_squad(json.dumps(FILE), "file") == QUESTIONS
    assert answerable(QUESTIONS) == (QUESTIONS[:1], 1)


def test_a_file_with_a_byte_order_mark(tmp_path):
    (tmp_path / "dev.json").write_text(json.dumps(FILE), "utf-8-sig")
    assert read_squad(tmp_path / "dev.json") == QUESTIONS
    with pytest.raises(UserError, match=r"cannot read .*none\.json"):
        read_squad(tmp_path / "none.json")


ARTICLE = r"^f, article 2 \('Bees'\)"
QUESTION = ARTICLE + r", paragraph 1, question 1 \(a\)"
ENTRY = ("data", 1, "paragraphs", 0, "qas", 0)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("data",), None, "^f: the field 'data' is missing"),
        (("data",), {}, "^f: the field 'data' must be a list, not {}"),
        (("data", 1), 3, "^f, article 2: it must be a JSON object, not 3"),
        (("data", 1, "title"), None, r"^$"),
        (("data", 1, "paragraphs"), None, ARTICLE + ": the field 'paragraphs' is missing"),
        ((*ENTRY[:4], "context"), None, ARTICLE + ", paragraph 1: the field 'context' is missing"),
        ((*ENTRY[:4], "context"), " ", QUESTION + ": the passage is empty"),
        ((*ENTRY[:4], "qas"), None, ARTICLE + ", paragraph 1: the field 'qas' is missing"),
        ((*ENTRY, "id"), None, ARTICLE + ", paragraph 1, question 1: the field 'id' is missing"),
        ((*ENTRY, "id"), 7, ", question 1: the field 'id' must be text, not 7"),
        ((*ENTRY, "question"), None, QUESTION + ": the field 'question' is missing"),
        ((*ENTRY, "question"), "", QUESTION + ": the question is empty"),
        ((*ENTRY, "answers"), None, QUESTION + ": the field 'answers' is missing"),
        (
            (*ENTRY, "answers", 1, "text"),
            None,
            QUESTION + ", answer 2: the field 'text' is missing",
        ),
        ((*ENTRY, "answers", 1, "text"), "Cafes", QUESTION + ": the answer 'Cafes' is not at"),
        ((*ENTRY, "answers", 1, "answer_start"), 18, QUESTION + ": the answer .* character 18"),
        ((*ENTRY, "answers", 1, "answer_start"), "17", 'must be a whole number, not "17"'),
        ((*ENTRY, "answers", 1, "answer_start"), True, "must be a whole number, not true"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(path, value, says):
    broken = copy.deepcopy(FILE)
    *before, last = path
    holder = broken
    for step in before:
        holder = holder[step]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    if says == "^$":  # a title is not needed
        assert parse_squad(json.dumps(broken), "f") == QUESTIONS
        return
    with pytest.raises(UserError, match=says):
        parse_squad(json.dumps(broken), "f")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "^f: not JSON"),
        ("[" * 100_000, "^f: not JSON"),
        ("[]", "^f: it must be a JSON object, not \\[\\]"),
        ('{"data": []}', "^f contains no question"),
    ],
)
def test_what_is_no_such_file(text, says):
    with pytest.raises(UserError, match=says):
        parse_squad(text, "f")


@pytest.mark.long
def test_the_real_files_are_clean():
    files = shared("data/squad/dev-v1.1.json", "data/squad/train-v1.1.first44.json")
    dev, train = map(read_squad, files)
    assert (len(dev), len(train)) == (10_570, 11_877)
    annotators = Counter(len(question.answers) for question in dev)
    assert annotators == {3: 8490, 5: 1147, 4: 759, 2: 136, 6: 35, 1: 3}
    assert all(len(question.answers) == 1 for question in train)
