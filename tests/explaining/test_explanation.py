"""An explanation shows and saves itself, and nothing in a text can break what it writes."""

import json
import string
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax import Explainer
from diffmask_jax.commands.arguments import path_of
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.explaining.explanations import Explanations
from diffmask_jax.explaining.replayed import Replayed
from diffmask_jax.explaining.word import Word
from diffmask_jax.models.answers import Answer
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
        says = "not settled (gates drawn as in training): why, and what next\n"
        says += "Passed: D is <b>small. Next: train longer."
        assert (says in read.text) == there


def test_the_heatmap_names_prediction_and_gate():
    heatmap = explanation().heatmap()
    assert heatmap.title == "“good” with probability 0.75"
    assert "input tokens" in heatmap.caption
    assert "hidden states" in explanation(gate="hidden").heatmap().caption
    assert (heatmap.tokens, heatmap.rows) == (explanation().shown, ("W", "1"))
    assert explanation(shown=("[CLS]", "Fun", "##ny", "<b>")).heatmap().tokens[1] == "Fun"
    np.testing.assert_array_equal(heatmap.values, KEEP)


def test_a_single_picture_says_when_its_probe_is_not_good():
    for answer in ("not good", "not settled", "good"):
        caption = explanation(assessment=Assessment(answer, (), ())).heatmap().caption
        assert caption.endswith("; by a probe that is not good") == (answer == "not good")
    both = explanation(assessment=Assessment("not good", (), ()), doubt="of step 5", cut_to=4)
    said = both.heatmap().caption.split("; ")
    assert said[1:] == [
        "the text was cut to 4 word pieces",
        "of step 5",
        "by a probe that is not good",
    ]


def test_a_token_of_number_signs_is_a_word_of_its_own():
    shown = ("[CLS]", "fun", "###", "##ny")
    found = explanation(
        "fun ###ny", shown=shown, tokens=shown, offsets=(None, (0, 3), (4, 7), (7, 9)),
        words=(Word("fun", 0, 3, 1, 1), Word("###ny", 4, 9, 2, 3)),
    )  # fmt: skip
    assert found.heatmap().starts == (True, True, True, False)
    text = Elements(found._repr_html_()).text
    assert "###ny" in "".join(text.split()) and "fun#ny" not in "".join(text.split())


def test_the_repr_fits_a_line_and_says_what_is_kept():
    shown = repr(explanation())
    assert shown == "Explanation('good', kept at the last layer: funny 0.25, <b> 0.00)"


def test_json_says_everything():
    found = json.loads(json.dumps(explanation().to_dict()))
    assert found == {
        "text": "funny <b>",
        "prediction": "good",
        "probabilities": {"bad": 0.25, "good": 0.75},
        "line": "“good” with probability 0.75",
        "cut_to": None,
        "problem_type": "single_label_classification",
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
    for ending in ("json", "html", "png", "svg", "pdf", "tex"):
        explanation().save(tmp_path / f"a.{ending}")
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(explanation().to_dict()))
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    starts = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-", "tex": b"% "}
    for ending, start in starts.items():
        assert (tmp_path / f"a.{ending}").read_bytes().startswith(start)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    explanation().save("~/a.json")
    assert Explanation.load("~/a.json") == Explanation.load(tmp_path / "a.json")
    assert path_of("~/a.html") == tmp_path / "a.html"
    with pytest.raises(UserError, match=f"{tmp_path}/run"):
        Explainer.from_pretrained("~/run")


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.JSON", ".json"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"its name must end in \.json, \.html, \.png"):
        explanation().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["json", "html", "png", "tex"])
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


# --- in Python -------------------------------------------------------------------------------


def replayed(**changes) -> Replayed:
    two = np.array([0.5, 0.25], np.float32)
    answers = (Answer("good", "“good” with probability 0.50"), Answer("bad", "“bad” …"))
    fields = {"divergence": two, "agreement": two, "probability": two, "whole": 0.75}
    return Replayed(answers, **fields | changes)


def test_equal_are_those_of_equal_parts_and_none_raises():
    one, same = explanation(replayed=replayed()), explanation(replayed=replayed())
    assert one == same and hash(one) == hash(same) and len({one, same}) == 1
    others = [
        explanation(),
        explanation("other", replayed=replayed()),
        explanation(keep=KEEP / 2, replayed=replayed()),
        explanation(replayed=replayed(whole=0.5)),
    ]
    assert all(one != other for other in others) and len({one, *others}) == 5
    assert one != "funny <b>" and one in [*others, one]


def test_a_page_of_a_long_text_has_a_short_title(tmp_path):
    text = "line one\r\nline two " * 40
    explanation(text).save(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    title = page.split("<title>")[1].split("</title>")[0]
    assert title.startswith("line one line two line one") and title.endswith("…")
    assert len(title) <= 90 and "␊" not in title


def test_the_words_that_are_kept_most():
    assert explanation().top() == [("funny", 0.25), ("<b>", 0.0)]
    assert explanation().top(1) == [("funny", 0.25)] and explanation().top(0) == []


HEADS_AND_OUTPUTS = [
    ("single_label_classification", [0.25, 0.75]),
    ("multi_label_classification", [0.25, 0.75]),
    ("regression", [-0.123456, 2.5]),
]


@pytest.mark.parametrize(("problem_type", "outputs"), HEADS_AND_OUTPUTS)
@pytest.mark.parametrize("again", [None, replayed(), replayed(probability=None, whole=None)])
def test_what_was_saved_is_loaded(tmp_path, problem_type, outputs, again):
    saved = explanation(
        "funny\n<b>", problem_type=problem_type, outputs=np.array(outputs, np.float32),
        replayed=again,
    )  # fmt: skip
    saved.save(tmp_path / "a.json")
    found = Explanation.load(tmp_path / "a.json")
    assert found.to_dict() == saved.to_dict() and found.replay() == saved.replay()
    assert found.heatmap().title == saved.heatmap().title and found.words == saved.words
    np.testing.assert_allclose(found.keep, saved.keep, atol=5.1e-5)
    found.save(tmp_path / "b.json")
    assert Explanation.load(tmp_path / "b.json") == found
    assert Explanation.from_dict({"row": "3"} | found.to_dict()) == found


def test_what_is_no_explanation_is_not_loaded(tmp_path):
    whole = json.loads(json.dumps(explanation(replayed=replayed()).to_dict()))
    fine = {
        "text": ["x"],
        "line": ["x"],
        "prediction": [3, [], "x", [[2.0]], [None]],
        "cut_to": [None, 3],
    }
    for name in whole:
        for value in (None, 3, [], {}, "x", [[2.0]], [None]):
            if value not in fine.get(name, []):
                with pytest.raises(UserError, match="the object"):
                    Explanation.from_dict(whole | {name: value})
        if name in ("replayed", "cut_to"):
            continue
        with pytest.raises(UserError, match="the object"):
            Explanation.from_dict({key: part for key, part in whole.items() if key != name})
    for word in ({"first": 5, "last": 9}, {"first": 2, "last": 1}):
        elsewhere = {**whole["words"][0], **word}
        with pytest.raises(UserError, match="words do not match its tokens"):
            Explanation.from_dict({**whole, "words": [elsewhere]})
    with pytest.raises(UserError, match=r"there is no a\.json"):
        Explanation.load(tmp_path / "a.json")


def test_a_table_has_a_row_a_token():
    pandas = pytest.importorskip("pandas", reason="the table is pandas's")
    frame = explanation().to_frame()
    assert list(frame.columns) == ["token", "shown", "part", "start", "end", "W", "1"]
    assert isinstance(frame, pandas.DataFrame) and frame.token.tolist()[1] == "fun"
    assert frame.start.tolist()[1:] == [0, 3, 6] and frame.start.isna().tolist()[0]
    np.testing.assert_array_equal(frame[["W", "1"]].to_numpy().T, KEEP)


def test_what_is_not_installed_is_one_line(monkeypatch):
    of_plot = r"plot needs matplotlib.*: run `pip install 'diffmask_jax\[viz\]'`"
    of_frame = "to_frame needs pandas: run `pip install pandas`"
    for name, method, told in (("pandas", "to_frame", of_frame), ("matplotlib", "plot", of_plot)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=told):
            getattr(explanation(), method)()


def test_it_is_drawn_on_anyone_s_axes():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    for drawn in (explanation("a $x$"), explanation(parts=(-1, 0, 0, 1), texts=("funny", "<b>"))):
        axes.clear()
        assert drawn.plot(ax=axes) is axes
        assert [label.get_text() for label in axes.get_xticklabels()] == list(drawn.shown)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["W", "1"]
        heatmap = drawn.heatmap()
        assert axes.get_title().splitlines() == [heatmap.title, heatmap.caption]
        cells = np.concatenate([mesh.get_array().reshape(2, -1) for mesh in axes.collections], 1)
        np.testing.assert_allclose(cells, KEEP)
        axes.figure.draw_without_rendering()


def test_a_list_draws_itself():
    many = Explanations([explanation()] * 23)
    shown = many._repr_html_()
    assert shown.count("<article") == 20 and shown.count("<style") == 1
    assert "and 3 more" in shown and many[1:] == [explanation()] * 22
    assert "and 2 more" in many[1:]._repr_html_() and many[0] == explanation()
    assert "more" not in Explanations([explanation()])._repr_html_()
    assert Explanations()._repr_html_() == "<p>none</p>"
