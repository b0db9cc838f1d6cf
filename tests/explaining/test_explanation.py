"""An explanation shows and saves itself, and nothing in a text can break what it writes."""

import json
import string
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explanation import Explanation, Word
from diffmask_jax.models.heads import HEADS
from diffmask_jax.render.page import page as drawn_page
from diffmask_jax.training.assessment import Assessment, Finding

KEEP = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.125, 0.25, 0.0]], np.float32)


def explanation(text: str = "funny <b>", **changes) -> Explanation:
    fields = {
        "texts": (text,),
        "tokens": ("[CLS]", "fun", "##ny", "<b>"),
        "shown": ("[CLS]", "fun", "##ny", "<b>"),
        "offsets": (None, (0, 3), (3, 5), (6, 9)),
        "parts": (-1, 0, 0, 0),
        "words": (Word("funny", 0, 5, 1, 2), Word("<b>", 6, 9, 3, 3)),
        "layers": ("W", "1"),
        "keep": KEEP,
        "labels": ("bad", "good"),
        "outputs": np.array([0.25, 0.75], np.float32),
        "problem_type": "single_label_classification",
        "gate": "input",
    } | changes
    head = HEADS[fields["problem_type"]]
    nothing = np.zeros(0, np.int32)
    unread = Encoded((), nothing, (), nothing, nothing, nothing, ())  # no such head looks at it
    answer = head.answer(fields["labels"], fields["outputs"], text, unread)
    return Explanation(**fields, answer=answer)


class Elements(HTMLParser):
    """The tags and the text of a page, as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_prediction_is_the_most_probable_label():
    assert explanation().prediction == "good"
    assert explanation(outputs=np.array([0.6, 0.4], np.float32)).prediction == "bad"


def test_a_word_is_kept_as_much_as_the_piece_of_it_that_is_kept_most():
    expected = [[0.8, 0.6], [0.25, 0.0]]
    np.testing.assert_allclose(explanation().word_keep, expected, rtol=1e-6)


def test_what_to_think_of_the_probe_is_saved_with_it(tmp_path):
    verdict = Assessment("not settled", (Finding(True, "D is <b>small"),), ("train longer",))
    known, unknown = explanation(assessment=verdict), explanation()
    assert known.to_dict()["probe"] == {
        "answer": "not settled",
        "findings": [{"holds": True, "says": "D is <b>small"}],
        "advice": ["train longer"],
    }
    assert "probe" not in unknown.to_dict()
    for one, there in ((known, True), (unknown, False)):
        one.save(tmp_path / "page.html")
        read = Elements((tmp_path / "page.html").read_text())  # whose text ends where a tag begins
        says = (
            "not settled: why, and what next\nAs it should be: D is <b>small. Next: train longer."
        )
        assert (says in read.text) == there


def test_the_heatmap_names_prediction_and_gate():
    heatmap = explanation().heatmap()
    assert heatmap.title == "“good” with probability 0.75"
    assert "input tokens" in heatmap.caption
    assert "hidden states" in explanation(gate="hidden").heatmap().caption
    assert (heatmap.tokens, heatmap.rows) == (explanation().shown, ("W", "1"))
    assert explanation(shown=("[CLS]", "Fun", "##ny", "<b>")).heatmap().tokens[1] == "Fun"
    np.testing.assert_array_equal(heatmap.values, KEEP)


def test_the_repr_fits_a_line_and_says_what_is_kept():
    shown = repr(explanation())
    assert shown == "Explanation('good', kept at the last layer: funny 0.25, <b> 0.00)"


def test_json_says_everything():
    found = json.loads(json.dumps(explanation().to_dict()))
    assert found == {
        "text": "funny <b>",
        "prediction": "good",
        "probabilities": {"bad": 0.25, "good": 0.75},
        "gate": "input",
        "layers": ["W", "1"],
        "tokens": ["[CLS]", "fun", "##ny", "<b>"],
        "shown": ["[CLS]", "fun", "##ny", "<b>"],
        "offsets": [None, [0, 3], [3, 5], [6, 9]],
        "parts": [-1, 0, 0, 0],
        "words": [
            {"text": "funny", "start": 0, "end": 5, "first": 1, "last": 2, "part": 0},
            {"text": "<b>", "start": 6, "end": 9, "first": 3, "last": 3, "part": 0},
        ],
        "keep": [[0.9, 0.8, 0.7, 0.6], [0.5, 0.125, 0.25, 0.0]],
    }


@given(
    keep=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_json_keeps_four_decimals_and_any_text(keep, text):
    values = np.array([keep, keep], np.float32)
    found = json.loads(json.dumps(explanation(text, keep=values).to_dict(), ensure_ascii=False))
    assert found["text"] == text
    np.testing.assert_allclose(found["keep"], values, atol=5.1e-5)


def test_saving_as_what_the_ending_says(tmp_path):
    for ending in ("json", "html", "png"):
        explanation().save(tmp_path / f"a.{ending}")
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(explanation().to_dict()))
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.JSON", ".json"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"name it \.json, \.html or \.png"):
        explanation().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["json", "html", "png"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, ending):
    with pytest.raises(UserError, match="does not exist"):
        explanation().save(tmp_path / "nothing" / f"a.{ending}")
    folder = tmp_path / f"folder.{ending}"
    folder.mkdir()
    with pytest.raises(UserError, match="cannot write"):
        explanation().save(folder)
    assert list(tmp_path.iterdir()) == [folder]


# Pieces of what would end a tag, an attribute or a comment, among other text.
MARKUP = st.lists(st.sampled_from([*"<>&\"'/=-! ", "<script>", "-->", *string.ascii_letters])).map(
    "".join
)


@settings(max_examples=10)
@given(token=MARKUP, text=MARKUP, label=MARKUP)
def test_no_text_is_taken_for_markup(tmp_path_factory, token, text, label):
    """Whatever they hold, explanations give pages of the same elements."""
    page = tmp_path_factory.mktemp("html") / "page.html"
    tokens = ("[CLS]", "x", "##x", f"xxxx{token}")
    explanation(text, shown=tokens, labels=("x", f"x{label}")).save(page)
    shown = Elements(page.read_text(encoding="utf-8"))
    plain = "".join(sign if sign.isspace() else "x" for sign in text)
    harmless = explanation(plain, shown=("[CLS]", "x", "##x", f"xxxx{'x' * len(token)}")).entry()
    assert shown.tags == Elements(drawn_page([harmless], "title")).tags
    assert f"xxxx{token}" in shown.text


def test_a_notebook_gets_a_fragment():
    shown = explanation()._repr_html_()
    assert "<html" not in shown and "<body" not in shown
    assert "&lt;b&gt;" in shown and "“good” with probability 0.75" in shown
