"""What config.json says of a classifier's outputs is read as transformers reads it, or refused."""

import jax
import numpy as np
import pytest
from bert_folder import WEIGHTS, assert_refused, save_rest, save_safetensors
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.heads import HEADS
from diffmask_jax.models.huggingface.description import (
    check_class,
    check_class_names,
    describe_class_names,
    output_names,
    tell_other_numbers,
)
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime.messages import shows

TOKENS = np.array([[2, 5, 8, 6, 3], [2, 6, 7, 3, 0]], np.int32)
INPUTS = TextInputs(TOKENS, np.zeros_like(TOKENS), TOKENS != 0)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint whose config.json names no outputs."""
    return with_outputs(tmp_path, 3, id2label=None)


def with_outputs(folder, count: int, **changes):
    """A checkpoint with so many outputs, whose config.json says something else of them."""
    rng = np.random.default_rng(count)
    head = {
        "classifier.weight": rng.normal(size=(count, 8)).astype(np.float32),
        "classifier.bias": rng.normal(size=count).astype(np.float32),
    }
    save_rest(folder, architectures=["BertForSequenceClassification"], **changes)
    save_safetensors(folder, WEIGHTS | head)
    return folder


# --- the names of the outputs ----------------------------------------------------------------


def test_labels_follow_the_logits_beyond_ten(tmp_path):
    names = {str(number): f"class {number}" for number in reversed(range(12))}
    folder = with_outputs(tmp_path, 12, id2label=names)
    assert load_classifier(folder).labels == tuple(f"class {number}" for number in range(12))


def test_labels_default_to_two_numbered_ones(tmp_path):
    assert load_classifier(with_outputs(tmp_path, 2, id2label=None)).labels == (
        "LABEL_0",
        "LABEL_1",
    )


@pytest.mark.parametrize("count", [1, 2, 12])
def test_labels_are_as_many_numbered_ones_as_num_labels_says(count):
    assert output_names({"num_labels": count}) == tuple(f"LABEL_{n}" for n in range(count))


def test_an_output_whose_name_shows_nothing_is_called_by_its_number():
    assert output_names({"id2label": {"0": "", "1": "good"}}) == ("LABEL_0", "good")


def test_names_that_stand_twice_are_told_apart():
    names = {"0": "neutral", "1": "good", "2": "neutral"}
    expected = ("neutral (0)", "good", "neutral (2)")
    assert output_names({"id2label": names}) == expected
    assert output_names({"id2label": names, "num_labels": 3}) == expected
    check_class_names(expected)
    check_class_names(output_names({"id2label": {"0": "n", "1": "n (0)", "2": "n"}}))


NAMES = ["a", "b", "a (0)", "a (1)", "a (0) (0)", "1", 1, 1.0, "", " ", "\u200b", "LABEL_1"]


@given(st.lists(st.sampled_from(NAMES), min_size=1))
def test_every_output_has_a_name_of_its_own_that_shows(names):
    """So that none of them loses its probability where a file has them by name."""
    found = output_names({"id2label": {str(n): name for n, name in enumerate(names)}})
    assert len(set(found)) == len(names)
    assert all(map(shows, found))


def test_names_of_many_outputs_are_told_apart_at_once():
    names = {str(number): "x" for number in range(60_000)}
    assert len(set(output_names({"id2label": names}))) == 60_000


@pytest.mark.parametrize("name", [None, True, ["a"], {"a": 1}])
def test_a_name_is_text(name):
    with pytest.raises(UserError, match="must name the classes by text or by numbers"):
        output_names({"id2label": {"0": "a", "1": name}})


def test_a_number_of_outputs_that_no_head_has():
    with pytest.raises(UserError, match="at most 65536, not"):
        output_names({"num_labels": 10**9})


def test_other_numbers_in_the_inverse_are_told(capsys):
    names = {"0": "bad", "1": "good"}
    for other, told in (
        ({"bad": 1, "good": 0}, "label2id gives 'bad' the number 1, id2label gives it 0"),
        ({"bad": 0, "good": "0"}, "label2id gives 'good' the number \"0\", id2label gives it 1"),
        ({"bad": 0, "good": 1}, ""),
        ({"LABEL_0": 1, "LABEL_1": 0}, ""),  # as transformers fills in what nobody said
        ([], ""),
    ):
        tell_other_numbers({"id2label": names, "label2id": other})
        assert told in capsys.readouterr().err or not told
    tell_other_numbers({"id2label": {"0": "n", "1": "n"}, "label2id": {"n": 0}})
    assert capsys.readouterr().err == ""


def test_what_is_described_is_read_back():
    names = ("bad", "good", "ugly")
    assert output_names(describe_class_names(names)) == names


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"id2label": {}}, r"id2label .* must name the classes 0, 1, 2"),
        ({"id2label": {"1": "bad", "2": "good"}}, r"id2label .* must name the classes 0, 1, 2"),
        ({"id2label": {"bad": "0", "good": "1"}}, r"id2label .* must name the classes 0, 1, 2"),
        ({"id2label": ["bad", "good"]}, r"id2label .* must name the classes 0, 1, 2"),
        ({"id2label": 7}, r"id2label .* must name the classes 0, 1, 2"),
        (
            {"id2label": {"0": "bad", "1": "good"}, "num_labels": 3},
            "contradicts itself: num_labels is 3, but id2label names 2",
        ),
        ({"num_labels": 0}, "num_labels .* whole number above 0, not 0"),
        ({"num_labels": "2"}, "num_labels .* whole number above 0, not '2'"),
        ({"num_labels": True}, "num_labels .* whole number above 0, not True"),
        ({"num_labels": 2.0}, r"num_labels .* whole number above 0, not 2\.0"),
    ],
)
def test_outputs_that_cannot_be_told_are_one_line(found, message):
    with pytest.raises(UserError, match=message) as refusal:
        output_names(found)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "names", [(), ("one",), ("same", "same"), ("name", " "), ("name", "\u200b")]
)
def test_class_names_are_two_or_more_different_ones(names):
    with pytest.raises(UserError, match="two or more different names"):
        check_class_names(names)


def test_an_output_may_stand_alone_where_a_head_takes_one():
    check_class_names(["score"], fewest=1)
    for names in ([], ["same", "same"], [" "]):
        with pytest.raises(UserError, match="need different names"):
            check_class_names(names, fewest=1)


# --- what the outputs mean -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "problem_type", "expected"),
    [
        (1, None, "regression"),
        (2, None, "single_label_classification"),
        (3, None, "single_label_classification"),
        (3, "single_label_classification", "single_label_classification"),
        (1, "multi_label_classification", "multi_label_classification"),
        (3, "multi_label_classification", "multi_label_classification"),
        (1, "regression", "regression"),
        (3, "regression", "regression"),
    ],
)
def test_the_head_is_the_problem_type_s_or_that_of_the_number_of_outputs(
    tmp_path, count, problem_type, expected
):
    folder = with_outputs(
        tmp_path, count, id2label=None, num_labels=count, problem_type=problem_type
    )
    found = load_classifier(folder)
    assert found.head is HEADS[expected]
    assert found.config.classes == len(found.labels) == count
    logits, _ = jax.jit(found.network.states)(found.params, INPUTS)
    assert logits.shape == (2, count)
    assert found.network.family.outputs(logits).shape == (2, count)


def test_a_single_named_output_is_a_regression(tmp_path):
    found = load_classifier(with_outputs(tmp_path, 1, id2label={"0": "similarity"}))
    assert found.head is HEADS["regression"] and found.labels == ("similarity",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem_type": "ordinal"}, ["problem_type 'ordinal'", "only", "regression"]),
        ({"problem_type": ["regression"]}, ["problem_type ['regression']", "only", "regression"]),
        (
            {"problem_type": "single_label_classification", "num_labels": 1},
            ["single_label_classification", "2 outputs or more"],
        ),
        ({"num_labels": 4}, ["classifier", "(3,", "(4,"]),
        ({"num_labels": 1}, ["classifier", "(3,", "(1,"]),
        (
            {"num_labels": 4, "id2label": {"0": "a", "1": "b", "2": "c"}},
            ["contradicts itself", "num_labels is 4", "names 3"],
        ),
    ],
)
def test_outputs_that_do_not_fit_are_refused(folder, changes, words):
    save_rest(folder, **{"id2label": None, **changes})
    assert_refused(folder, *words)


# --- whose head it is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("BertForTokenClassification", "fine-tune"),
        ("BertForMaskedLM", "fine-tune"),
        ("BertForQuestionAnswering", "`diffmask train questions`"),
    ],
)
def test_a_head_for_another_task_is_refused_by_its_name(folder, name, todo):
    """Even where the tensors would fit, as those of a token classifier do."""
    save_rest(folder, id2label=None, num_labels=3, architectures=[name])
    assert_refused(folder, name, "architectures", "BertForSequenceClassification", todo)


@pytest.mark.parametrize(
    "written",
    [
        None,
        [],
        ["BertForSequenceClassification"],
        "BertForSequenceClassification",
        ["BertModel"],
        ["RobertaForSequenceClassification"],
        ["BertForMaskedLM", "BertForSequenceClassification"],
    ],
)
def test_a_sequence_classifier_and_one_that_does_not_say_are_taken(written):
    """Beside a bare encoder the weights decide; related encoders share their heads."""
    check_class({"architectures": written}, "BertForSequenceClassification")


# --- the same as PyTorch's transformers ------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (2, {}),
        (3, {"num_labels": 3}),
        (1, {"num_labels": 1}),
        (3, {"id2label": {"2": "last", "0": "bad", "1": "good"}}),
        (3, {"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 3}),
        (3, {"num_labels": 3, "problem_type": "multi_label_classification"}),
        (1, {"id2label": {"0": "score"}, "problem_type": "regression"}),
        (3, {"id2label": {"0": "same", "1": "same", "2": "other"}}),
    ],
)
def test_outputs_names_and_logits_are_those_of_transformers(tmp_path, count, changes):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    folder = with_outputs(tmp_path, count, **{"id2label": None, **changes})
    theirs = transformers.AutoConfig.from_pretrained(folder)
    found = load_classifier(folder)
    assert theirs.num_labels == found.config.classes == count
    names = [theirs.id2label[number] for number in range(count)]
    for number, (ours, name) in enumerate(zip(found.labels, names, strict=True)):
        assert ours == (f"{name} ({number})" if names.count(name) > 1 else name)
    if theirs.problem_type is not None:
        assert found.head.problem_type == theirs.problem_type

    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(
            input_ids=torch.tensor(TOKENS, dtype=torch.long),
            attention_mask=torch.tensor(INPUTS.valid, dtype=torch.long),
        ).logits.numpy()
    logits, _ = jax.jit(found.network.states)(found.params, INPUTS)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_problem_type_that_transformers_infers_is_ours(tmp_path):
    """It does so as it computes a loss."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    for count, gold in ((1, torch.zeros(2)), (3, torch.tensor([0, 2]))):
        folder = with_outputs(tmp_path, count, id2label=None, num_labels=count)
        model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
        tokens = torch.tensor(TOKENS, dtype=torch.long)
        loss = model(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=gold).loss
        found = load_classifier(folder)
        assert model.config.problem_type == found.head.problem_type
        logits, _ = jax.jit(found.network.states)(found.params, INPUTS)
        ours = found.head.loss(logits, gold.numpy()[:, None] if count == 1 else gold.numpy())
        # Ours is half the square: a Gaussian's, in nats.
        scale = 2 if count == 1 else 1
        np.testing.assert_allclose(scale * np.mean(ours), loss.item(), rtol=1e-4)
