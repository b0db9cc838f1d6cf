"""The SQuAD experiment: its numbers by hand, and from end to end on a tiny BERT."""

import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr, wilcoxon

from diffmask_jax.analysis.bootstrap import grouped_interval
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.models.answers import answer_span
from diffmask_jax.models.loading import load_answerer
from diffmask_jax.tasks.encoded_questions import encode_questions
from diffmask_jax.tasks.question_tags import QuestionTags, TaggedWord
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.training import run_folder
from diffmask_jax.training.config import run_config
from experiments.common.probe_runs import measured_at
from experiments.common.resume import check_model, check_texts
from experiments.squad import __main__ as squad
from experiments.squad import drawing, methods, numbers, parts_of_speech, pointing, stages
from experiments.squad.certainty import thirds
from experiments.squad.gate_claims import gate_claims, hidden_claims, ids_of
from experiments.squad.intervals import in_words
from experiments.squad.left import SHARES, asks, what_is_left
from experiments.squad.methods import Counted
from experiments.squad.report import certainty_table, layer_table
from experiments.squad.stages import Answers
from experiments.squad.study import study_of

LOOSE = {"tolerance": 1e4, "min_agreement": 1e-9}
SHORT = {"steps_per_call": 2, "batch_size": 4, "warmup": 1, "validate_every": 2}
METHODS = ("attention", "leave_one_out")  # of all, those that compile soonest
PASSAGES = ("The plot is dull, the acting great.", "a warm and funny film, not bad!")
QUESTIONS = ("is the plot dull?", "was it great?", "the acting?", "is it fun?", "a bad film?")
CLAIMS = {
    "squad.model.f1", "squad.model.exact_match",
    *(f"squad.{gate}.{name}_top" for gate in ("input", "hidden")
      for name in ("masked", "positions_kept", "spans_kept")),
    "squad.gold_kept_when_wrong", "squad.gold_kept_when_wrong.hidden",
    *(f"squad.question_minus_passage{top}.{gate}" for top in ("", "_top")
      for gate in ("input", "hidden")),
    *(f"squad.pos.{what}{of}" for of in ("", ".hidden")
      for what in ("propn_punct_layers_minus_adp_conj", "punct_layers_minus_rest")),
    "squad.hidden.masked_after_9_of_24", "squad.hidden.sep_kept_but_last",
    *(f"squad.answers_nouns{reading}" for reading in ("", ".of_answers", ".of_questions")),
    *(f"squad.fig2.{name}.{place}{precision}"
      for name in ("diffmask", *METHODS, *(f"diffmask_minus_{other}" for other in METHODS))
      for place in ("question", "answer") for precision in ("", "_precision")),
}  # fmt: skip


def asked() -> list[Question]:
    """Each passage's questions, answered by one of its words."""
    found = []
    for place, passage in enumerate(PASSAGES):
        word = ("dull", "warm")[place]
        gold = Answer(word, passage.index(word))
        found += [
            Question(f"{place}-{number}", question, passage, (gold,))
            for number, question in enumerate(QUESTIONS)
        ]
    return found


def tagged(text: str) -> list:
    """Every word's place: of those that name a thing PROPN, punctuation, and ADP."""
    spans, at = [], 0
    for word in text.replace(",", " , ").replace(".", " .").replace("!", " !").split():
        start = text.index(word, at)
        at = start + len(word)
        kind = "PUNCT" if not word[0].isalpha() else "PROPN" if len(word) > 3 else "ADP"
        spans.append([start, at, kind])
    return spans


@pytest.fixture
def study(tiny_answerer):
    return study_of(load_answerer(tiny_answerer), asked())


# --- numbers ---------------------------------------------------------------------------------


def answered(ends: np.ndarray) -> Answers:
    """Answers that are the likeliest ends, the later ones surer."""
    return Answers(ends, ends, np.linspace(0.1, 1, len(ends)))


def test_depths_count_blocks():
    layers = ("W", "E", "1", "2", "3", "4", "5", "6")
    np.testing.assert_allclose(numbers.depths(layers)[:3], [0, 0, 1 / 6])
    assert np.flatnonzero(numbers.above(layers, numbers.UPPER)).tolist() == [6, 7]
    assert np.flatnonzero(numbers.above(layers, numbers.HALFWAY)).tolist() == [4, 5, 6, 7]


def test_a_span_is_kept_if_both_ends_are():
    original = np.array([[1, 2], [3, 3]])
    prediction = np.array([[[1, 2], [3, 4]], [[0, 2], [0, 0]]])
    zeros = np.zeros((2, 2))
    agreement = (prediction == original).mean(axis=-1)
    found = numbers.faithful(Outcome(zeros + 0.25, zeros + 2, agreement, prediction, original))
    assert found.masked == [0.25, 0.25] and found.divergence == [2, 2]
    assert found.positions_kept == [0.75, 0.25] and found.spans_kept == [0.5, 0.0]


def test_separators_are_told_apart(study):
    words = (TaggedWord(0, 99, "NOUN"),)
    (first, *_) = parts_of_speech.tags_of_pieces(study, [QuestionTags(words, words)] * 10)
    parts = study.parts[0]
    assert first[0] == "[CLS]" and first[-1] == "[SEP] 2"
    assert [name for name, part in zip(first, parts, strict=True) if part < 0] == [
        "[CLS]", "[SEP] 1", "[SEP] 2",
    ]  # fmt: skip
    assert {*first} == {"[CLS]", "[SEP] 1", "[SEP] 2", "NOUN"}


def test_parts_of_speech_are_counted_by_passage(study):
    """Ten questions about two passages: two observations, for each kind of word and their test."""
    tags = [
        QuestionTags(*(tuple(TaggedWord(*word) for word in tagged(text)) for text in both))
        for both in zip((q.question for q in study.questions), study.passages, strict=True)
    ]
    pieces = parts_of_speech.tags_of_pieces(study, tags)
    longer = [np.array([name in {"PROPN", "PUNCT"} for name in own], float) for own in pieces]
    found = parts_of_speech.by_tag(longer, pieces, study.parts, study.passages)
    kinds = {"PROPN", "PUNCT", "ADP"}
    assert {group.name for group in found.panels["question"]} <= kinds
    both = {group.name: group for group in found.panels["both"]}
    assert set(both) == kinds | {"[CLS]", "[SEP] 1", "[SEP] 2"}
    assert sum(group.tokens for group in both.values()) == sum(map(len, pieces))
    apart = found.long_minus_soon
    assert (apart.mean, apart.sentences, apart.sources) == (1, 10, 2)
    assert apart.p_value == wilcoxon([1, 1], alternative="greater").pvalue
    assert 0 < found.punctuation_minus_rest.mean < 1


def test_a_gate_s_numbers_are_by_passage_and_of_the_least_deep_layer(study):
    layers, texts = study.model.network.layers, len(study.questions)
    rng = np.random.default_rng(0)
    keep = [rng.random((len(layers), len(parts))) for parts in study.parts]
    gold = np.array([spans[0] for spans in study.data.spans])
    masked, zeros = rng.random((len(layers), texts)), np.zeros((len(layers), texts))
    same = np.broadcast_to(gold, (len(layers), *gold.shape))
    runs = [Outcome(masked, zeros, zeros + 1, same, gold)]
    found = numbers.of_gate(study, keep, runs, answered(gold), None, None)
    np.testing.assert_allclose(found.masked.mean, masked.mean(axis=1))
    for apart, chosen in (
        (found.question_minus_passage, slice(None)),
        (found.question_minus_passage_top, numbers.above(layers, numbers.UPPER)),
    ):
        each = [
            values[chosen][:, parts == 0].mean() - values[chosen][:, parts == 1].mean()
            for values, parts in zip(keep, study.parts, strict=True)
        ]
        assert apart.mean == pytest.approx(np.mean(each))
        assert (apart.sentences, apart.sources) == (10, 2)
        passages = [np.mean(each[:5]), np.mean(each[5:])]
        assert apart.p_value == wilcoxon(passages, alternative="greater").pvalue
    deep = np.flatnonzero(numbers.above(layers, numbers.HALFWAY))
    late = {one.id: one for one in hidden_claims(found, layers)}[
        "squad.hidden.masked_after_9_of_24"
    ]
    assert late.ours == pytest.approx(masked[deep].mean(axis=1).min())
    assert found.lowest_minus_next is None  # two blocks
    names = ("W", "E", "1", "2", "3")
    shares = rng.random((5, texts))
    found = numbers.lowest_minus_next(shares, names, study.passages)
    assert found.mean == pytest.approx((shares[1] + shares[2] - shares[3] - shares[4]).mean() / 2)


def test_two_seeds_stand_side_by_side_with_how_far_they_are_apart(study):
    layers, texts = study.model.network.layers, len(study.questions)
    gold = np.array([spans[0] for spans in study.data.spans])
    same = np.broadcast_to(gold, (len(layers), *gold.shape))
    one = np.full((len(layers), texts), 0.25)
    seeds = [Outcome(masked, 2 * one, one, same, gold) for masked in (one, one + 0.5)]
    keep = [np.full((len(layers), len(parts)), 0.5) for parts in study.parts]
    measured = stages.Measured([], [], [[np.log(k) for k in keep]] * 2, seeds)
    np.testing.assert_allclose(measured.deviations(), np.zeros(len(layers)), atol=1e-7)
    apart = np.arange(len(layers)) / 10
    found = numbers.of_gate(study, keep, seeds, answered(gold), None, apart)
    *_, last = layer_table(layers, found).splitlines()
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[1:3] == ["25.0%, 75.0%", "0.500, 0.500"]
    assert cells[-1] == f"{apart[-1]:.3f}"
    claims = {one.id: one for one in gate_claims("hidden", found, layers)}
    assert claims["squad.stability.hidden"].ours == pytest.approx(apart.mean())
    assert {one.runs for one in claims.values()} == {2}, "also where a value is of both"

    alone = measured._replace(log_keep=measured.log_keep[:1])
    assert alone.deviations() is None
    found = numbers.of_gate(study, keep, seeds[:1], answered(gold), None, None)
    assert "squad.stability.hidden" not in {c.id for c in gate_claims("hidden", found, layers)}


def test_sure_answers_are_told_from_unsure_ones(study):
    layers, texts = study.model.network.layers, len(study.questions)
    gold = np.array([spans[0] for spans in study.data.spans])
    rng = np.random.default_rng(0)
    probabilities = rng.permutation(np.linspace(0.1, 1, texts))
    least, middle, most = np.split(np.argsort(probabilities), [4, 7])
    shape = (len(layers), texts)
    runs = [
        Outcome(
            *rng.random((3, *shape)),
            np.where(rng.random((*shape, 1)) < 0.5, gold, gold + 1),
            gold,
        )
        for _ in range(2)
    ]
    keep = [np.full((len(layers), len(parts)), 0.5) for parts in study.parts]
    found = numbers.of_gate(
        study, keep, runs, Answers(gold, gold, probabilities), None, None
    ).by_certainty
    upper = numbers.above(layers, numbers.UPPER)
    assert 0 < upper.sum() < len(layers)
    for part, chosen in zip(found, (least, middle, most), strict=True):
        assert part.questions == len(chosen)
        own = probabilities[chosen]
        assert (part.least, part.most) == (own.min(), own.max())
        passages = [study.passages[at] for at in chosen]
        for name, field in (("masked", "masked"), ("positions_kept", "agreement")):
            values = np.mean([getattr(run, field)[upper].mean(axis=0) for run in runs], axis=0)
            expected = grouped_interval(values[chosen], passages)
            np.testing.assert_allclose(part.means[name], expected)
        same = [(run.prediction == gold).all(axis=-1)[upper].mean(axis=0) for run in runs]
        assert part.means["spans_kept"].mean == pytest.approx(np.mean(same, axis=0)[chosen].mean())


def test_fewer_than_three_questions_are_each_a_part():
    values = {name: np.array([0.25, 0.75]) for name in numbers.Faithful._fields}
    surer, less = thirds(values, np.array([0.9, 0.2]), ["one passage"] * 2)[::-1]
    assert (less.least, less.most, less.questions) == (0.2, 0.2, 1)
    assert surer.means["masked"].mean == 0.25 and np.isnan(surer.means["masked"].low)
    row = certainty_table(OfCertainty([less, surer])).splitlines()[-1]
    assert row == "| 0.90–0.90 | 1 | 25.0% | 0.250 | 25.0% | 25.0% |"


class OfCertainty(NamedTuple):
    """The part of `OfGate` that a table shows."""

    by_certainty: list


def test_what_is_left_by_hand(study):
    layers = study.model.network.layers
    # Answers of three pieces of the passage, from its second on.
    spans = np.array([np.flatnonzero(parts == 1)[[1, 3]] for parts in study.parts])
    gold = np.array([places[0] for places in study.data.spans])
    right = np.arange(len(gold)) < 6
    ends = np.where(right[:, None], gold, 0)
    probabilities = np.linspace(0.1, 1, len(gold))
    keep = []
    for number, (parts, (first, last)) in enumerate(zip(study.parts, spans, strict=True)):
        own = np.full((len(layers), len(parts)), 0.1)
        own[0] = 0.5  # not more likely than not
        own[1, [first, last]] = 0.9
        own[1, 0] = 0.9
        if number % 2:
            own[1, np.flatnonzero(parts == 1)[-2]] = 0.9
        own[-1] = 0.6
        keep.append(own)
    answers = Answers(ends, spans, probabilities)
    found = what_is_left(study, keep, answers)
    assert (found.long, found.right, found.wrong) == (10, 6, 4)
    for name, of in found._asdict().items():
        if name in set(SHARES) - {"question_words"}:
            assert of[0] == 0 and of[-1] == 1, name
    assert (found.opening[1], found.ends[1], found.inside[1]) == (1, 1, 0)
    assert found.other_words[1] == 0
    assert np.isnan(found.question_words).all()  # "is it fun?"
    assert found.places.tolist()[:2] == [0, 2.5] and found.places[-1] == 1
    assert np.isnan(found.with_certainty[0]) and np.isnan(found.with_certainty[-1])
    odd = np.arange(len(gold)) % 2
    assert found.with_certainty[1] == pytest.approx(spearmanr(odd, probabilities).statistic)
    lengths = [len(parts) for parts in study.parts]
    assert found.pieces[1] == pytest.approx((3 * 10 + 5) / sum(lengths))
    # A gold answer, one word, counts if both its ends are kept.
    has = [own[1, start] > 0.5 for own, (start, _) in zip(keep, gold, strict=True)]
    assert found.gold_when_right[1] == pytest.approx(np.mean(np.array(has)[right]))
    assert found.gold_when_wrong[1] == pytest.approx(np.mean(np.array(has)[~right]))


def test_question_words_are_whole_and_of_the_question(study):
    tokenizer = study.model.tokenizer
    question = Question("0", "is the plot what it was?", "what is dull?", ())
    (encoded,) = encode_questions(tokenizer, [question], 512).encoded
    asking = asks(question.question, encoded)
    of_question = [
        question.question[slice(*place)]
        for place, part in zip(encoded.offsets, encoded.parts, strict=True)
        if part == 0
    ]
    assert asking.sum() == of_question.count("what") == 1
    assert not asking[encoded.parts != 0].any()
    part = Question("0", "is it whatisit or what?", "dull", ())
    (encoded,) = encode_questions(tokenizer, [part], 512).encoded
    (place,) = (encoded.offsets[at] for at in np.flatnonzero(asks(part.question, encoded)))
    assert part.question[slice(*place)] == "what" and place[0] > 16


def test_answers_are_as_probable_as_explanations_say(study, tmp_path):
    found = stages.answers(study, tmp_path / "unmasked.npz")
    for at, (question, encoded) in enumerate(zip(study.questions, study.data.encoded, strict=True)):
        inputs = jax.tree.map(jnp.asarray, batches.pad([encoded], len(encoded.ids)))
        logits, _ = study.model.network.states(study.model.params, inputs)
        own = np.asarray(jax.nn.softmax(logits[0], axis=0))
        pair = (question.question, question.passage)
        span = answer_span(("start", "end"), own, pair, encoded).span
        assert span.probability == pytest.approx(found.probabilities[at], rel=1e-4)
        assert found.spans[at].tolist() == [span.first, span.last]
    again = stages.answers(study, tmp_path / "unmasked.npz")
    np.testing.assert_array_equal(again.probabilities, found.probabilities)


def test_the_right_spans_score_everything(study):
    gold = np.array([spans[0] for spans in study.data.spans])
    right = numbers.scores(study, answered(gold))
    assert {name: tuple(of) for name, of in right.items()} == {
        "f1": (100, 100, 100), "exact_match": (100, 100, 100),
    }  # fmt: skip
    wrong = np.tile(np.flatnonzero(study.parts[0] == 1)[:1], (10, 2))
    scored = numbers.scores(study, answered(wrong))["exact_match"]
    assert scored.low <= scored.mean < 100


def test_a_small_sample_is_a_part_of_a_large_one(study):
    few, many = study.sample(3), study.sample(7)
    assert set(few) < set(many) and many == sorted(many) and len(many) == 7
    assert study.sample(99) == list(range(10))
    assert study.at(many).at([0, 2]).numbers == [many[0], many[2]]


def test_batches_have_few_shapes_and_every_question_once(study):
    stream = study.batches(4)
    assert {batch.inputs.valid.shape for batch in stream} == {(4, 20)}
    assert sorted(np.concatenate([batch.indices for batch in stream])) == list(range(10))
    for batch in stream:
        for row, index in enumerate(batch.indices):
            encoded = study.data.encoded[index]
            assert batch.inputs.tokens[row][batch.inputs.valid[row]].tolist() == list(encoded.ids)


def test_statistics_of_words_are_those_of_all_their_embeddings(study, tmp_path):
    found = stages.statistics_of_words(study, tmp_path / "words.npz")
    table = np.asarray(study.model.params["word"]["embedding"])
    words = np.concatenate([table[encoded.ids] for encoded in study.data.encoded])
    np.testing.assert_allclose(found.mean, words.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.deviation, words.std(axis=0), atol=1e-5)


def test_figure_2_counts_a_method_that_points_to_the_answer(study):
    gold = np.array([spans[0] for spans in study.data.spans])
    sharp = []
    for parts, (first, last) in zip(study.parts, gold.tolist(), strict=True):
        sharp.append(
            np.where((np.arange(len(parts)) >= first) & (np.arange(len(parts)) <= last), 1.0, 0.0)
        )
    flat = [np.ones(len(parts)) for parts in study.parts]
    found = pointing.figure2(study, answered(gold), {"diffmask": sharp, "flat": flat})
    (_, answer, _, _, precision), chance = found.shares["diffmask"].mean, found.chance.mean
    assert answer >= chance[1] and sum(chance[:3]) == pytest.approx(1)
    assert answer == pytest.approx(0.1, abs=0.05)  # one word of ten top tokens
    assert precision == 1
    np.testing.assert_allclose(found.over_chance["flat"].mean, 0, atol=1e-9)
    np.testing.assert_allclose(
        found.diffmask_over["flat"], found.over_chance["diffmask"], atol=1e-9
    )


def test_attributions_are_kept_by_the_settings_that_made_them(study, tmp_path):
    def everywhere(value):
        return Counted(
            "Even", f"{value}", lambda *_: lambda key, subject: value + 0 * subject.state[:, :, 0]
        )

    noise = stages.statistics_of_words(study, tmp_path / "words.npz")
    for _ in range(2):
        found = stages.attributions(study, everywhere(1.0), noise, tmp_path / "even")
        assert [len(one) for one in found] == [len(one.ids) for one in study.data.encoded]
        assert all(np.all(one == 1) for one in found)
    with pytest.raises(UserError, match="results of another settings"):
        stages.attributions(study, everywhere(2.0), noise, tmp_path / "even")


def test_every_question_has_its_own_noise_whatever_the_sample(study, tmp_path):
    """Otherwise noise does not average out over questions."""

    def first_normal(key, subject):
        return jax.random.normal(key) + 0 * subject.state[:, :, 0]

    drawing = Counted("Noise", "none", lambda *_: first_normal)
    words = stages.statistics_of_words(study, tmp_path / "words.npz")
    found = stages.attributions(study, drawing, words, tmp_path / "whole")
    drawn = {float(one[0]) for one in found}
    assert len(drawn) == len(study.questions)
    part = study.at([3, 7])
    again = stages.attributions(part, drawing, words, tmp_path / "part")
    assert [one[0] for one in again] == [found[3][0], found[7][0]]


# --- from end to end -------------------------------------------------------------------------


@pytest.fixture
def places(tiny_answerer, tmp_path, monkeypatch):
    """SQuAD's files and tags of its dev set; and settings of a few steps."""
    pytest.importorskip("tensorflow_datasets")
    paragraphs = [
        {
            "context": passage,
            "qas": [
                {
                    "id": one.id,
                    "question": one.question,
                    "answers": [{"text": a.text, "answer_start": a.start} for a in one.answers],
                }
                for one in asked()
                if one.passage == passage
            ],
        }
        for passage in PASSAGES
    ]
    raw = tmp_path / "raw"
    raw.mkdir()
    whole = json.dumps({"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]})
    for split in ("train", "dev"):
        (raw / f"{split}-v1.1.json").write_text(whole)
    lines = [
        {
            "context": paragraph["context"],
            "spans": tagged(paragraph["context"]),
            "questions": {qa["id"]: tagged(qa["question"]) for qa in paragraph["qas"]},
        }
        for paragraph in paragraphs
    ]
    (tmp_path / "tags.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.setattr(squad, "SETTINGS", squad.SETTINGS | SHORT | LOOSE)
    few = {name: methods.on_many(20)[name] for name in METHODS}
    monkeypatch.setattr(methods, "on_many", lambda steps: few)
    monkeypatch.setattr(methods, "ON_EXAMPLE", few)
    monkeypatch.setattr(batches, "LENGTHS", (20,))  # all that the model takes: a program for all
    for name, text in zip(
        ("QUESTION", "PASSAGE", "ANSWER"), (QUESTIONS[0], PASSAGES[0], "dull"), strict=True
    ):
        monkeypatch.setattr(drawing, name, text)
    return {
        "--model": tiny_answerer, "--raw-dir": raw, "--data-dir": tmp_path / "data",
        "--tags": tmp_path / "tags.jsonl", "--seeds": 1, "--steps": 4, "--questions": 8,
        "--methods-on": 3, "--out": tmp_path / "report",
    }  # fmt: skip


@pytest.fixture
def experiment(places, command_of):
    """Run it with some options changed."""
    return command_of(squad, places)


def test_what_methods_find_is_kept_by_their_steps():
    """Folders are named by the settings in words: other steps do not take them for their own."""
    few, many = methods.on_many(20), methods.on_many(500)
    same = {name for name in few if few[name].told == many[name].told}
    assert same == {"attention", "leave_one_out"}
    assert not any("/" in method.told for method in (*few.values(), *many.values()))


@pytest.mark.long  # test_sst.py shows how such an experiment reports and goes on
def test_it_reports_every_claim_and_goes_on_where_it_was(experiment, places):
    experiment()
    out = places["--out"]
    first = json.loads((out / "report.json").read_text())
    assert {claim["id"] for claim in first["claims"]} == CLAIMS
    pictures = ["figure2", "figure7", "faithful"]
    pictures += [
        f"{name}_{gate}" for name in ("figure8", "figure14", "training") for gate in squad.GATES
    ]
    for picture in pictures:
        assert (out / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    kept = sorted(out.rglob("*.npz"))
    # The model's answers and words, the runs, and the methods on three questions and the example.
    assert len(kept) == 2 + 2 * 2 + len(METHODS) * (3 + 1)

    times = {file: file.stat().st_mtime_ns for file in kept}
    lost = out / "measured" / "8 questions" / "unmasked.npz"
    lost.unlink()  # as if it had been stopped before
    experiment()
    second = json.loads((out / "report.json").read_text())
    assert second["claims"] == first["claims"]
    for name in ("by_gate", "figure2", "scores", "questions", "runs"):
        assert second["raw"][name] == first["raw"][name]
    assert {file for file, at in times.items() if file.stat().st_mtime_ns != at} == {lost}

    # One of the two probes, and no training: what it cannot say is left out, and named.
    (out / "runs" / "input-0").rename(out / "gone")
    experiment(no_training=True)
    third = json.loads((out / "report.json").read_text())
    missing = set(ids_of("input").values())
    missing |= {name for name in CLAIMS if name.startswith("squad.fig2.diffmask")}
    assert {claim["id"] for claim in third["claims"]} == CLAIMS - missing
    told = (out / "report.md").read_text()
    assert "Not run: there is no probe of input masking" in told
    assert "| hidden-0 | 4 | no: not at W, E, 1 |" in told


def test_results_belong_to_a_model_wherever_it_lies(tiny_answerer, tmp_path, monkeypatch):
    out = tmp_path / "report"
    check_model(out, load_answerer(tiny_answerer))
    shutil.copytree(tiny_answerer, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    moved = load_answerer("./moved")
    check_model(out, moved)
    other = moved._replace(params=jax.tree.map(lambda array: array + 1, moved.params))
    with pytest.raises(UserError, match="results of another model, of other weights"):
        check_model(out, other)


def test_finished_runs_are_known_wherever_model_and_questions_lie(tmp_path):
    def configs(model, steps, margin=1.0):
        given = {"margin": margin, "steps": steps, "raw_dir": f"{model}-data"}
        return {tmp_path / "run": run_config(model, "squad", **given)}

    ((folder, config),) = configs("old", steps=8).items()
    run_folder.open_run(folder, config)
    run_folder.save_probe(folder, {"baselines": (np.zeros(1, np.float32),)}, {"step": 4.0})
    assert stages.kept(configs("new", steps=16), "input") == [folder]
    assert stages.kept(configs("new", steps=16), "hidden") == []
    with pytest.raises(UserError, match=r"contains a run of another margin 1\.0 → 2\.0"):
        stages.kept(configs("new", steps=16, margin=2.0), "input")


def test_results_belong_to_questions_and_probes(study, tiny_answerer, tmp_path):
    check_texts(tmp_path, questions=study.content())
    check_texts(tmp_path, questions=study.content())
    others = (
        study.at(range(9)),
        study._replace(data=study.data._replace(spans=study.data.spans[1:])),
    )
    for other in others:
        with pytest.raises(UserError, match="results of another questions"):
            check_texts(tmp_path, questions=other.content())

    run, places = tmp_path / "input-0", set()
    run.mkdir()
    for number in (1.0, 2.0):
        probe = {"baselines": (np.array([number], np.float32),)}
        run_folder.save_probe(run, probe, {"step": 4.0})
        places |= {measured_at(tmp_path, run), measured_at(tmp_path, run)}
    assert len(places) == 2 and all(place.name.startswith("input-0-4-") for place in places)


def test_a_classifier_and_bad_numbers_are_refused(experiment, tiny_bert, tmp_path, capsys):
    for changed, message in (
        ({"model": tiny_bert, "out": tmp_path / "a"}, "questions with answers"),
        ({"questions": 0}, "--seeds, --questions and --method-steps must be at least 1"),
        ({"method_steps": 0}, "--seeds, --questions and --method-steps must be at least 1"),
    ):
        with pytest.raises(SystemExit) as stopped:
            experiment(**changed)
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


def test_a_number_of_one_passage_is_said_to_have_no_interval():
    values = np.array([0.2, 0.4])
    assert (
        in_words(grouped_interval(values, ["a", "a"])) == "of one passage, which gives no interval"
    )
    assert in_words(grouped_interval(values, ["a", "b"])).startswith("95% interval over passages ")
