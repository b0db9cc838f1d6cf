"""A report's numbers: against `evaluate`, against counts by hand, for every head; and its page."""

import dataclasses
import itertools
import json
import shutil
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_set import EITHER_GATE

from diffmask_jax import Explainer, cli
from diffmask_jax.data import batches
from diffmask_jax.explaining import rivalry_table, rivals
from diffmask_jax.explaining.report import LEAST, as_json
from diffmask_jax.explaining.reporting import report_on
from diffmask_jax.explaining.sources import Sources
from diffmask_jax.explaining.word_groups import QUARTERS
from diffmask_jax.game import probes
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.tasks.encoded_examples import encode_examples, gold_labels
from diffmask_jax.tasks.files import read_file
from diffmask_jax.training import run_folder

GOLD = ["good", "bad", "mixed", "good", "bad", "mixed", "bad", "good"]
GATES = ("input", "hidden")


@pytest.fixture(scope="module", autouse=True)
def one_length():
    """The texts padded to 20 word pieces, all that the model takes: one program for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LENGTHS", (20,))
        yield


def labelled(file, texts, labels):
    rows = zip(texts, labels, strict=True)
    file.write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows))
    return file


@pytest.fixture(scope="module")
def texts(sentences):
    """The sentences thrice, so that words are in enough of them; no two texts alike."""
    return [text + end for end in ("", " !", " .") for text in sentences]


@pytest.fixture(scope="module", params=EITHER_GATE)
def made(request, tiny_bert, save_run, texts, tmp_path_factory):
    """(run, file of labelled texts, JSON, page) of the command."""
    place = tmp_path_factory.mktemp(request.param)
    run = save_run(place / "run", tiny_bert, request.param)
    file = labelled(place / "texts.jsonl", texts, GOLD * 3)
    out = place / "report.html"
    command = ["report", run, "--texts", file, "--out", out]
    command += ["--against", "2"] if request.param == "input" else []
    assert cli.main([str(word) for word in command]) == 0
    return run, file, json.loads(out.with_suffix(".json").read_text()), out.read_text()


# --- numbers ---------------------------------------------------------------------------------


def test_layers_are_what_evaluate_finds_with_thresholded_gates(made, tmp_path):
    run, file, numbers, _ = made
    out = tmp_path / "evaluation.json"
    assert cli.main(["evaluate", str(run), "--texts", str(file), "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["thresholded"][:-1]
    for name in ("masked", "divergence", "agreement"):
        expected = [row[name] for row in rows]
        np.testing.assert_allclose(numbers[name]["mean"], expected, rtol=1e-4, atol=1e-5)
        assert numbers[name]["low"] <= numbers[name]["mean"] <= numbers[name]["high"]
    for curve in numbers["scores"]:
        name = curve["score"]["name"]
        assert curve["original"] == pytest.approx(rows[0][f"{name}_original"], rel=1e-4)
        found = [row[f"{name}_masked"] for row in rows]
        np.testing.assert_allclose(curve["masked"], found, rtol=1e-4)
    assert [curve["score"]["name"] for curve in numbers["scores"]] == ["accuracy", "macro_f1"]


def test_words_and_groups_are_counted_as_by_hand(made, texts):
    run, _, numbers, _ = made
    explanations = Explainer.from_pretrained(run)(texts)
    found: dict[str, list] = {}
    for number, each in enumerate(explanations):
        for word, kept in zip(each.words, each.word_keep.sum(axis=0), strict=True):
            found.setdefault(word.text.casefold(), []).append((number, kept))
    frequent = {w: own for w, own in found.items() if len({n for n, _ in own}) >= LEAST}
    longest = {one["name"]: one for one in numbers["longest"]}
    by_mean = sorted(frequent, key=lambda word: -np.mean([k for _, k in frequent[word]]))
    assert set(longest) == set(by_mean[: -(-len(by_mean) // 2)])  # fewer than 40 in all
    for word in longest:
        own = frequent[word]
        assert longest[word]["tokens"] == len(own)
        assert longest[word]["texts"] == len({number for number, _ in own})
        assert longest[word]["mean"] == pytest.approx(np.mean([k for _, k in own]), rel=1e-4)
        assert longest[word]["low"] <= longest[word]["mean"] <= longest[word]["high"]
    means = [one["mean"] for one in numbers["longest"]]
    assert means == sorted(means, reverse=True)
    first = [one["name"] for one in numbers["first"]]
    assert first[0] == by_mean[-1] and {*first, *longest} == set(frequent)
    assert len(first) + len(longest) == len(frequent)
    predicted = {each.prediction for each in explanations}
    groups = {way: {one["name"]: one for one in own} for way, own in numbers["groups"].items()}
    assert set(groups) == {
        "predicted label", "gold label", "position in the text", "special tokens"
    }  # fmt: skip
    assert set(groups["predicted label"]) == predicted and set(groups["gold label"]) == set(GOLD)
    cls = [each.keep[:, 0].sum() for each in explanations]
    assert groups["special tokens"]["[CLS]"]["mean"] == pytest.approx(np.mean(cls), rel=1e-4)
    words = sum(len(each.words) for each in explanations)
    for way in ("predicted label", "gold label", "position in the text"):
        assert sum(group["tokens"] for group in groups[way].values()) == words
    assert [*groups["position in the text"]] == list(QUARTERS)
    assert sum(numbers["gone"]) == words


def test_turned_texts_are_those_that_turn_and_the_worst_stands_first(made):
    _, _, numbers, _ = made
    turns = numbers["turns"]
    assert len(turns) == numbers["turned"] > 0
    worst = [turn["divergence"] for turn in turns]
    assert worst == sorted(worst, reverse=True)
    for turn in turns:
        assert turn["worst"] in turn["layers"]
        assert turn["before"].split("”")[0] != turn["after"].split("”")[0]


# --- other methods ---------------------------------------------------------------------------


def test_the_probe_s_order_is_that_of_its_deepest_gate_on_the_input():
    assert rivals.gate_on_input(probes.input_probe(4), 5) == 4
    assert rivals.gate_on_input(probes.hidden_probe(4), 5) == 0


@pytest.fixture(scope="module")
def short(tiny_bert, save_run, tmp_path_factory):
    """An explainer, a text of four word pieces beside the special ones, and its v by hand."""
    run = save_run(tmp_path_factory.mktemp("short") / "run", tiny_bert)
    explainer = Explainer.from_pretrained(run)
    text = "not great , bad"
    (encoded,) = explainer.model.encode([text])
    (batch,) = batches.in_order([encoded], 1)
    network, params = explainer.model.network, explainer.model.params
    inputs = jax.tree.map(jnp.asarray, batch.inputs)
    logits, states = network.states(params, inputs)
    mask = params["word"]["embedding"][explainer.model.tokenizer.mask_token_id]

    def value(left: np.ndarray) -> np.ndarray:
        """One set at a time, and softmax by hand."""
        found = []
        for kept in left:
            state = jnp.where(np.array(kept)[None, :, None], states[0], mask)
            masked = np.asarray(network.logits_from(params, inputs, state, 0))[0]
            shares = np.exp(masked - masked.max())
            found.append((shares / shares.sum())[int(np.argmax(logits))])
        return np.array(found)

    return explainer, encoded, value


def test_the_probe_s_faithfulness_is_that_by_hand(short):
    explainer, encoded, value = short
    found = rivals.rivalry(explainer, [encoded], Sources("texts", [0]))
    assert found.methods == (
        "DiffMask", "Integrated gradients", "Leave one out", "Attention", "Random"
    )  # fmt: skip
    assert found.searched == 1 and found.measures.shape == (5, 1, 6)
    keep = explainer("not great , bad").keep[-1]
    places = np.flatnonzero(encoded.parts >= 0)
    order = places[np.argsort(-keep[places], kind="stable")]
    kept = order[: (keep[places] > 0.5).sum()]
    left = np.ones((2, 20), bool)
    left[0, places] = np.isin(places, kept)  # only what is kept
    left[1, kept] = False  # all but that
    whole, only, without = *value(np.ones((1, 20), bool)), *value(left)
    sufficiency, comprehensiveness, *_ = found.measures[0, 0]
    assert sufficiency == pytest.approx(whole - only, abs=1e-5)
    assert comprehensiveness == pytest.approx(whole - without, abs=1e-5)


def test_areas_are_normalised_by_the_best_and_worst_of_all_orders(short):
    explainer, encoded, value = short
    places = np.flatnonzero(encoded.parts >= 0)
    sets = {}
    for size in range(len(places) + 1):
        for gone in itertools.combinations(places, size):
            left = np.ones((1, 20), bool)
            left[0, list(gone)] = False
            sets[frozenset(gone)] = value(left)[0]
    areas = [
        np.mean([sets[frozenset()] - sets[frozenset(o[: i + 1])] for i in range(len(o))])
        for o in itertools.permutations(places)
    ]
    least, most = min(areas), max(areas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rivals, "WIDTH", 6)  # C(4, 2): all orders
        found = rivals.rivalry(explainer, [encoded], Sources("texts", [0]))
    for row in found.measures[:, 0]:
        assert min(abs(row[3] - area) for area in areas) < 1e-5
        assert row[5] == pytest.approx((row[3] - least) / (most - least), abs=1e-4)
        assert row[4] == pytest.approx((row[2] - least) / (most - least), abs=1e-4)


def test_differences_are_paired():
    measures = np.random.default_rng(0).random((2, 30, 6))
    measures[1] = measures[0] + 0.25
    rivalry = rivals.Rivalry(("DiffMask", "Random"), measures, 30, 0.5, Sources("texts", range(30)))
    found = rivalry.differences()["Random"]
    assert all(np.allclose(interval, -0.25) for interval in found.values())


def test_questions_about_one_passage_are_drawn_together():
    """Thirty questions about six passages, all alike within one: as uncertain as six numbers."""
    passages = np.repeat(np.arange(6), 5).tolist()
    six = np.random.default_rng(0).random((1, 6, 6))
    six[:, 5, 4:] = np.nan  # one was not searched
    of_thirty = rivals.Rivalry(
        ("DiffMask",), six[:, passages], 25, 0.5, Sources("passages", passages)
    )
    of_six = rivals.Rivalry(("DiffMask",), six, 5, 0.5, Sources("texts", range(6)))
    for name, interval in of_six.means()["DiffMask"].items():
        np.testing.assert_allclose(of_thirty.means()["DiffMask"][name], interval, atol=1e-12)
    assert of_thirty.drawn() == of_six.drawn()
    assert list(of_six.drawn().values()) == [6, 6, 6, 6, 5, 5]
    assert "bootstrap over passages" in rivalry_table.explained(of_thirty)
    assert rivalry_table.explained(of_thirty).startswith("On 30 questions. ")
    assert "25 questions of at most" in rivalry_table.explained(of_thirty)
    assert "bootstrap over texts" in rivalry_table.explained(of_six)


# --- heads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_every_head_has_a_report(kind, tiny_bert, save_bert, save_run, sentences, tmp_path):
    if kind == "regression":
        config = dataclasses.replace(load_classifier(tiny_bert).config, classes=1)
        model, labels = save_bert(tmp_path / "model", config), [0.5, -1, 2, 3, -2, 0, 1, 2]
    else:
        model, labels = shutil.copytree(tiny_bert, tmp_path / "model"), [["bad"], []] * 4
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"problem_type": kind}))
    run = save_run(tmp_path / "run", model)
    if kind == "regression":
        run_folder.save_scale(run, 1.0)
    data = read_file(labelled(tmp_path / "texts.jsonl", sentences, labels))
    explainer = Explainer.from_pretrained(run)
    encoded = encode_examples(explainer.model, data)
    gold = gold_labels(explainer.model, encoded)
    report, survey = report_on(explainer, run, "texts", encoded, gold)
    numbers = as_json(report)
    json.dumps(numbers, allow_nan=False)
    groups = {one.name for one in report.groups["gold label"]}
    if kind == "regression":
        assert groups == {"lowest third", "middle third", "highest third"}
        assert [curve.score.name for curve in report.scores] == ["pearson", "error"]
    else:
        assert groups == {"bad", "no label"}
    assert len(survey.explanations) == len(sentences)
    assert all(len(answers) == 4 for answers in survey.answers)


# --- pairs, tags, the page -------------------------------------------------------------------


def test_words_of_pairs_are_grouped_by_their_text(run, tmp_path):
    file = tmp_path / "pairs.jsonl"
    pairs = [("quite a film", "not bad"), ("the plot", "great fun !")]
    file.write_text("\n".join(json.dumps({"text": a, "pair": b}) for a, b in pairs))
    explainer = Explainer.from_pretrained(run)
    data = encode_examples(explainer.model, read_file(file))
    report, _ = report_on(explainer, run, "pairs", data, None)
    by_text = {one.name: one.tokens for one in report.groups["text of the pair"]}
    assert by_text == {"first text": 5, "second text": 5}


def test_tags_group_words_by_their_part_of_speech(run, tmp_path):
    texts = ["great fun !", "not bad!"]
    tags = [["ADJ", "NOUN", "PUNCT"], ["PART", "ADJ"]]  # bad! is one word between blanks
    lines = [
        json.dumps({"words": t.split(" "), "upos": own}) for t, own in zip(texts, tags, strict=True)
    ]
    (tmp_path / "tags.jsonl").write_text("\n".join(lines))
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    explainer, examples = Explainer.from_pretrained(run), read_file(tmp_path / "texts.txt")
    data = encode_examples(explainer.model, examples)
    report, _ = report_on(explainer, run, "texts", data, None, tags=tmp_path / "tags.jsonl")
    by_tag = {one.name: one.tokens for one in report.groups["part of speech"]}
    assert by_tag == {"ADJ": 3, "NOUN": 1, "PUNCT": 1, "PART": 1}

    (tmp_path / "texts.txt").write_text("great  fun ! \n not bad!")  # blanks that part no words
    data = encode_examples(explainer.model, read_file(tmp_path / "texts.txt"))
    report, _ = report_on(explainer, run, "texts", data, None, tags=tmp_path / "tags.jsonl")
    assert {one.name: one.tokens for one in report.groups["part of speech"]} == by_tag


class Balance(HTMLParser):
    """Which tags are open, and what is said of the page's parts."""

    VOID = frozenset({"meta", "rect", "path", "polyline", "polygon"})
    OPTIONAL = frozenset({"td", "th", "tr"})  # may be left open, and are in heat maps

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in self.VOID

    def handle_endtag(self, tag):
        while self.open[-1] != tag and self.open[-1] in self.OPTIONAL:
            self.open.pop()
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(made, texts):
    _, _, numbers, markup = made
    document = Balance(markup)
    assert document.open == [] and len(set(document.ids)) == len(document.ids)
    assert document.links and {link[1:] for link in document.links} == set(document.ids)
    for outside in ("http", "url(", "@import", "<link", "<script", "src=", "<img"):
        assert outside not in markup
    assert "Is this probe good? No." in markup  # a random one
    assert markup.count("<details>") == 20 + 2  # texts, the numbers, the turned texts
    assert "With only what the last layer keeps, the answer is “" in markup
    assert markup.count("<figure>") == 3 + len(numbers["scores"])
    for one in numbers["longest"]:
        assert f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" in markup


# --- the command -----------------------------------------------------------------------------


def test_the_command_says_what_it_found_and_where_it_wrote(run, texts_file, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["report", str(run), "--texts", str(texts_file), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(
        f"{run}: input probe on 8 texts (texts.txt)\nthe probe is not good (gates at ½)\n"
    )
    assert said.err.splitlines() == [
        "compiling, then processing 8 texts",
        f"written to {out} and page.json",
    ]
    assert json.loads(out.with_suffix(".json").read_text())["rivalry"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "-1"], "--against is a number of texts, not -1"),
        (["--out", "page.json"], ".html"),
        (["--text-column", "text"], "pass --texts FILE, too"),
        (["--out", "nowhere/page.html"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_told_in_a_line(options, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", str(run), *options]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not list(tmp_path.iterdir())
