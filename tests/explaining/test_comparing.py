"""Six methods on one text, from runs to a page and a picture."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax import cli
from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import comparing
from diffmask_jax.explaining.explainer import Explainer

TEXT = "the film is great fun"


@pytest.fixture(scope="module")
def explainers(run, tiny_bert, save_run, tmp_path_factory):
    hidden = save_run(tmp_path_factory.mktemp("runs") / "hidden", tiny_bert, "hidden")
    return [Explainer.from_pretrained(folder) for folder in (run, hidden)]


@pytest.fixture(scope="module")
def noise(explainers, sentences):
    first = explainers[0]
    stream = batches.in_order(first.model.encode(sentences), 4, 20)
    return state_statistics(first.game.model, first.params[0], stream)


@pytest.fixture(scope="module")
def found(explainers, noise):
    return comparing.compare(explainers, noise, TEXT)


def test_every_method_has_a_panel_of_its_layers(explainers, found):
    assert [panel.name for panel in found.panels] == [
        "Attention", "Gradient × input", "Integrated gradients", "Schulz et al. (2020)",
        "Guan et al. (2019)", "DiffMask, input", "DiffMask, hidden states",
    ]  # fmt: skip
    assert found.tokens == ("[CLS]", *TEXT.split(), "[SEP]")
    for panel in found.panels:
        assert panel.rows == (("1", "2") if panel.name == "Attention" else ("W", "E", "1", "2"))
        assert panel.values.shape == (len(panel.rows), 7)
        assert panel.values.max() > 0
    for panel, explainer in zip(found.panels[-2:], explainers, strict=True):
        np.testing.assert_array_equal(panel.values, explainer(TEXT).keep)
    assert found.caption == explainers[0](TEXT).heatmap().title


def test_only_cls_matters_at_the_last_state(found):
    """The head reads nothing else, so that no method may point elsewhere."""
    integrated, schulz, guan = (panel.values[-1] for panel in found.panels[1:4])
    assert integrated[0] > 0 and not integrated[1:].any()
    assert schulz.argmax() == 0 and guan.argmax() == 0


@pytest.mark.parametrize(
    ("complete", "whole", "says"),
    [
        ([True] * 3, [True] * 3, "proven at every layer"),
        ([True, False, True], [True, False, False],
         "proven at layer W; one of them, its size proven, at layer 1; "
         "the smallest found at layer E"),
        ([False] * 3, [False] * 3, "the smallest found at every layer"),
    ],
)  # fmt: skip
def test_where_a_search_has_its_proof(complete, whole, says):
    assert comparing.proven(("W", "E", "1"), np.array(complete), np.array(whole)) == says


def test_a_divergence_that_is_rounded_below_0_is_none(explainers, monkeypatch):
    """In float32 that of two predictions which are hardly apart may be −1e-8."""
    values = jnp.full((4, 1, 7), -1e-8).at[1, 0, 2].set(0.5)
    monkeypatch.setattr(comparing, "at_every_layer", lambda *_: values)
    found = comparing.compare(explainers[:1], None, TEXT, names=["leave_one_out"])
    assert found.panels[1].values.sum() == found.panels[1].values[1, 2] == 0.5


def test_what_an_explanation_says_of_its_trust_a_comparison_says_too(explainers, monkeypatch):
    first, second = explainers
    monkeypatch.setattr(first, "pairs", False)
    pair = (TEXT + " fun" * 600, TEXT)
    found = comparing.compare(explainers, None, pair, truncate=True, names=[])
    cut = first([pair], truncate=True)[0]
    assert found.caption == f"{cut.answer.line}; {cut.cut}" and "the pair was cut to" in cut.cut
    own, other = (panel.note for panel in found.panels[-2:])
    assert own.endswith("; not to be trusted: the probe was trained on single texts, not on pairs "
                        "of texts")  # fmt: skip
    assert other == second.game.probe.gate.caption


def test_erasure_says_where_its_sets_are_proven_the_smallest(explainers):
    """Of seven tokens all sets are searched; it needs no noise, and so no training texts."""
    found = comparing.compare(explainers[:1], None, TEXT, names=["erasure"])
    erasure = found.panels[1]
    assert erasure.note == "share of the smallest sufficient sets; proven at every layer"
    assert erasure.values.shape == (4, 7) and (erasure.values.max(axis=1) > 0).all()


def test_runs_of_different_models_are_refused(explainers, noise, save_bert, save_run, tmp_path):
    other = Explainer.from_pretrained(save_run(tmp_path / "run", save_bert(tmp_path / "bert")))
    with pytest.raises(UserError, match="different models"):
        comparing.compare([explainers[0], other], noise, TEXT)


def test_a_gru_is_refused_for_it_has_no_attention(tiny_gru, save_run, tmp_path, capsys):
    """Before any work: not even the statistics of its states are taken."""
    run = save_run(tmp_path / "run", tiny_gru, layers=1)
    page = tmp_path / "page.html"
    assert cli.main(["compare", str(run), "--text", TEXT, "--html", str(page)]) == 2
    written = capsys.readouterr()
    assert (
        f"{tiny_gru} is a diffmask_gru, which has no attention" in written.err
        and written.err.count("\n") == 1
    )
    assert not page.exists() and not (run / "statistics.safetensors").exists()


def test_the_command_draws_a_page_and_a_picture(
    explainers, tiny_bert, texts_file, save_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(texts_file.parent)
    folder = save_run(tmp_path / "run", tiny_bert)
    (texts_file.parent / "train.txt").write_text(texts_file.read_text())
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    command = ["compare", str(folder), "--text", TEXT, "--methods", "gradient,schulz"]
    assert cli.main([*command, "--html", str(page), "--png", str(picture)]) == 0
    assert capsys.readouterr().out == ""
    assert "Schulz et al." in page.read_text() and picture.read_bytes().startswith(b"\x89PNG")

    kept = folder / "statistics.safetensors"
    (texts_file.parent / "train.txt").unlink()  # the statistics are there
    first = page.read_bytes()
    assert cli.main([*command, "--html", str(page)]) == 0
    assert page.read_bytes() == first

    kept.write_bytes(b"x")
    assert cli.main([*command, "--html", str(page)]) == 2
    assert "statistics.safetensors is damaged" in capsys.readouterr().err
    kept.unlink()
    assert cli.main([*command, "--html", str(page)]) == 2
    assert f"cannot read {texts_file.parent / 'train.txt'}" in capsys.readouterr().err
    assert cli.main(command) == 2
    assert "no output file" in capsys.readouterr().err
    assert page.read_bytes() == first
