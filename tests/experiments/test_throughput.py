"""The race with PyTorch on a tiny BERT: it is fair, it reports, and it refuses what is not fair."""

import dataclasses
import functools
import json
import pickle

import jax
import numpy as np
import optax
import pytest
from long_set import shown_by
from wasting import wasteful

from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.game import probes, steps
from diffmask_jax.game.gates import GATES
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.game.players import Rates, settling
from diffmask_jax.runtime import json_files
from diffmask_jax.tasks.sst import SstPlaces

torch = pytest.importorskip("torch", reason="the race needs PyTorch: pip install torch")
pytest.importorskip("tensorflow_datasets")

from experiments.common import report  # noqa: E402
from experiments.throughput import __main__ as throughput  # noqa: E402
from experiments.throughput import (  # noqa: E402
    bert,
    data,
    devices,
    explain,
    flops,
    growth,
    memory,
    race,
    squad,
    sst,
    texts,
)
from experiments.throughput.course import chunks, first_step, layers_of, prepare  # noqa: E402
from experiments.throughput.pytorch import bert_check, contenders, players  # noqa: E402
from experiments.throughput.pytorch.bert import run_block  # noqa: E402

BATCH = 2


@pytest.fixture(autouse=True, scope="module")
def in_little_time():
    """More threads are slower on networks of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(tiny_bert, treebank, prepared):
    return data.Source(str(tiny_bert), SstPlaces(str(treebank), str(prepared)))


@pytest.fixture(scope="module")
def contest(source):
    return data.sst(source)


@pytest.fixture(scope="module")
def case(contest):
    """(gate, whose game) -> (setup, chunk)"""

    def of(gate, setting="settling"):
        setup = prepare(contest.classifier, gate, batch=BATCH, steps=2, setting=setting)
        return setup, next(chunks(setup, contest.texts))

    return of


@pytest.fixture
def few_ways(monkeypatch):
    """Nothing is compiled, which would take longer than all the rest."""
    monkeypatch.setattr(contenders, "compiled", lambda ways: {})


# --- a fair race ------------------------------------------------------------------------------


WRONG = "another weight"


@pytest.fixture(scope="module", params=shown_by(("hidden",), GATES))
def differences(request, case):
    """Of every way in PyTorch, and of one that is wrong, from our step."""
    way = contenders.ways("float32")["lean"]

    def product(x, weight, bias):
        return way.product(x, 1.01 * weight, bias)

    wrong = way._replace(block=functools.partial(run_block, product=product))
    ways = contenders.ways("float32") | {WRONG: wrong}
    with contenders.whole_float32():
        return bert_check.largest_differences(*case(request.param), ways)


@pytest.mark.parametrize(
    ("device", "kernels", "raced"),
    [
        ("cpu", "AVX2", ("float32",)),
        ("cpu", "AVX512", ("float32", "bfloat16")),
        ("cuda", "AVX2", ("float32", "bfloat16")),
    ],
)
def test_no_race_where_pytorch_emulates_a_precision(monkeypatch, device, kernels, raced):
    monkeypatch.setattr(contenders, "DEVICE", device)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: kernels)
    assert contenders.precisions() == raced


def test_all_compute_the_same(differences):
    """In whatever way it is written in PyTorch, and padded as the authors pad."""
    found = {name: value for name, value in differences.items() if WRONG not in name}
    assert {name.split(",")[0] for name in found} == {"L₀", "D", "gradients"}
    assert max(found.values()) < 1e-4
    names = {*contenders.ways("float32"), bert_check.AUTHORS}
    assert {name.split(", ", 1)[1].rsplit(", ", 1)[0] for name in found} == names


def test_pytorchs_players_move_as_ours_do():
    """Today's: RMSprop at falling rates, its average, and the controller of λ."""
    rates, margin, layers = Rates(probe=0.01, baseline=0.02, multiplier=0.05, warmup=3), 0.1, 2
    ours = settling(margin, rates)
    state = jax.numpy.zeros((1, 1, 3))
    drawn = probes.init(
        jax.random.key(0), probes.hidden_probe(2), (state,) * layers, [state[0, 0]] * layers
    )
    state = steps.init(drawn, layers, ours)
    theirs = players.players(players.player_weights(drawn, state.multipliers.fast))
    moved = players.settling(theirs, rates, margin)
    rng = np.random.default_rng(0)

    @jax.jit
    def move(state, gradients, excess):
        primal, moments = ours.primal.update(gradients, state.primal, state.probe)
        dual, control = ours.dual.update(-excess, state.dual, state.multipliers)
        probe, multipliers = (
            optax.apply_updates(*pair)
            for pair in ((state.probe, primal), (state.multipliers, dual))
        )
        return state._replace(probe=probe, multipliers=multipliers, primal=moments, dual=control)

    state = state._replace(primal=ours.primal.init(state.probe))
    for _ in range(5):
        gradients = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), drawn)
        excess = rng.normal(scale=margin, size=layers).astype(np.float32)
        state = move(state, gradients, excess)
        weights = players.player_weights(gradients, excess / layers)
        for name, weight in theirs.named_parameters():
            weight.grad = torch.tensor(weights[name])
        moved.primal.step(), moved.dual.step(), players.end_step(theirs, moved)
    expected = players.player_weights(state.probe.fast, state.multipliers.fast)
    for name, weight in theirs.named_parameters():
        np.testing.assert_allclose(weight.detach(), expected[name], rtol=1e-4, atol=1e-6)
    expected = players.player_weights(state.probe.slow, state.multipliers.slow)
    named = {id(weight): name for name, weight in theirs.named_parameters()}
    for weight, slow in zip(moved.primal.weights, moved.primal.slow, strict=True):
        np.testing.assert_allclose(slow, expected[named[id(weight)]], rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_another_margin_is_found_out(case, monkeypatch):
    setup, chunk = case("input")
    ours = bert_check.objective

    def other(*arguments, game, **rest):
        return ours(*arguments, game=game._replace(margin=game.margin + 0.01), **rest)

    monkeypatch.setattr(bert_check, "objective", other)
    with pytest.raises(UserError, match=r"cannot be compared: gradients, .* by \d"):
        bert_check.check(setup, chunk, {})


def test_another_weight_is_found_out(case, differences, monkeypatch):
    monkeypatch.setattr(bert_check, "largest_differences", lambda *_: differences)
    with pytest.raises(UserError, match=rf"{WRONG}, .* more than 0.001"):
        bert_check.check(*case("hidden"), {})


def test_a_length_whose_gradient_vanishes_is_compared_with_its_directions():
    """On SST its terms, of 0.03, once added up to 8e-5, of which rounding was a three-hundredth."""
    weight = "first.parametrizations.weight.original"
    expected = {
        f"{weight}0": np.array([[8e-5]]),
        f"{weight}1": np.array([[0.03, -0.01]]),
        "multipliers": np.array([0.0, 0.2]),
    }
    rounded = expected | {f"{weight}0": expected[f"{weight}0"] + 2.4e-7}
    assert bert_check._largest(expected, rounded, 0.3) == pytest.approx(8e-6)
    wrong = expected | {f"{weight}0": np.array([[0.0]])}
    assert bert_check._largest(expected, wrong, 0.3) > 2 * bert_check.LIMIT


def test_pytorch_plays_the_layers_that_training_draws(case):
    """λ moves at the layers that are played and nowhere else."""
    setup, chunk = case("hidden", "authors")
    start = steps.init(setup.probe, len(setup.game.model.layers), setup.players)

    @jax.jit
    def play(state, params, batches):
        fetch = functools.partial(clean_pass, setup.game.model, params)
        play = steps.Play(setup.game, setup.players, params, fetch, setup.draw_layer)
        return steps.steps(state, setup.key, batches, play)[0]

    for number in (0, 3):
        state = start._replace(step=np.int32(number * setup.config.steps_per_call))
        after = play(state, setup.classifier.params, first_step(chunk).batch.inputs)
        (moved,) = np.flatnonzero(np.asarray(after.multipliers.fast) != 1)
        assert moved == layers_of(setup, number)[0]


def test_todays_game_deals_examples_out_over_the_layers(case):
    setup, chunk = case("hidden")
    assert chunk.layers.shape == (2, BATCH)
    assert set(chunk.layers.flat) <= set(range(len(setup.game.model.layers)))


def test_looked_up_states_are_the_computed_ones(case, contest):
    """PyTorch reads our clean states in place, and gets from them what it would compute."""
    from diffmask_jax.training import clean_states

    setup, chunk = case("input")
    texts = contest.texts
    passes = clean_states.compute(setup.game.model, setup.classifier.params, texts)
    (stored,) = (contenders.shared(c) for c in passes.by_length.values())
    rows = torch.from_numpy(passes.row[chunk.batch.indices[0]])
    inputs = [torch.tensor(array[0]) for array in chunk.batch.inputs]
    logits, states = contenders.bert.clean_pass(contenders.network(setup, "float32"), *inputs)
    torch.testing.assert_close(stored.logits[rows], logits, atol=1e-4, rtol=1e-4)
    valid = inputs[-1]
    for layer, there in enumerate(states):
        here = contenders.look_up(stored.states, rows, layer, slice(None))
        torch.testing.assert_close(here[valid], there[valid], atol=1e-4, rtol=1e-4)


# --- what is measured -------------------------------------------------------------------------


def test_bytes_are_read_from_a_program():
    text = """
  %a = f32[3,4]{1,0} all-reduce(%x), replica_groups={}
  %b = (f32[], bf16[5]{0}) all-reduce(%y, %z), to_apply=%add
  %c = f32[9]{0} add(%x, %y)
  %d = f32[2]{0} all-gather-start(%x)
"""
    assert devices.exchanged(text) == 48 + 4 + 10 + 8


@pytest.mark.long
def test_memory_is_measured_in_another_process():
    """What is computed there counts, and neither the frameworks nor what building leaves behind."""
    numbers = 30_000_000
    found = memory.peak_mib(wasteful, numbers)
    assert found == pytest.approx(8 * numbers / memory.MIB, rel=0.3)


def test_what_is_measured_in_another_process_can_be_sent_there(source):
    for build in (sst.longest_of, source, BATCH), (squad.step_of, squad.ON_CPU["squad.small"]):
        pickle.dumps(functools.partial(*build))


@pytest.mark.long
def test_every_contender_takes_its_steps_alone(case, contest, few_ways, monkeypatch):
    """As in the process that measures it, but here."""

    def in_this_process(build, *arguments):
        build(*arguments)()
        return float(len(arguments))

    monkeypatch.setattr(bert, "peak_mib", in_this_process)
    setup, chunk = case("hidden")
    fastest = {"float32": bert.Fastest("lean", contenders.ways("float32")["lean"], {})}
    found = bert.measure_memory(lambda precision: (setup, contest.texts, chunk), fastest, 1)
    assert found == {bert.OURS: 2.0, bert.BEST: 4.0, bert.AUTHORS: 2.0}


def test_everybody_begins_once():
    orders = [race.rotated(["a", "b", "c"], number) for number in range(4)]
    assert [order[0] for order in orders] == ["a", "b", "c", "a"]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_needed_operations_leave_out_what_nobody_reads(case):
    """One row a text in the last block, twice its forward operations backwards in attention."""
    setup, chunk = case("input")
    sizes, batch, length = setup.sizes, BATCH, chunk.length
    width, inner, blocks = sizes.width, sizes.intermediate, sizes.blocks
    weights = 2 * batch * length * (4 * width**2 + 2 * width * inner)
    attention = 4 * batch * length**2 * width
    one_row = 2 * batch * (2 * length * width**2 + 2 * width**2 + 2 * width * inner)
    masked = (blocks - 1) * (2 * weights + 3 * attention) + 2 * one_row + 3 * attention // length
    found = flops.needed_flops(setup, [chunk], 1, cached=True)
    assert found == masked
    whole = flops.needed_flops(setup, [chunk], 1, cached=False)
    assert whole - found == blocks * (weights + attention)


def test_small_numbers_and_bars_survive_the_table(tmp_path):
    says = report.claim("c", "mean |Δ| small", [0.00012], paper=None, unit="", holds=True)
    report.write_report(tmp_path, "T", [says], {}, body="", raw={})
    text = (tmp_path / "report.md").read_text()
    assert r"mean \|Δ\| small" in text and "0.00012" in text


def test_what_is_given_is_neither_a_yes_nor_a_no_and_a_report_is_json(tmp_path, capsys):
    given = report.claim("g", "a share", [8.8], paper=8.83, unit="%", holds=None)
    infinite = report.claim("i", "none shared", [np.inf], paper=None, unit="nats", holds=True)
    report.write_report(tmp_path, "T", [given, infinite], {}, body="", raw={"all": [np.inf, 0.1]})
    text = (tmp_path / "report.md").read_text()
    assert "| g | a share | 8.83 | 8.800 % | – | 1 | – |" in text and "| inf nats |" in text
    told = json_files.read(tmp_path / "report.json")  # which takes neither NaN nor Infinity
    assert [claim["holds"] for claim in told["claims"]] == [None, True]
    assert told["raw"]["all"] == [None, 0.1] and told["claims"][1]["ours"] is None
    report.print_claims([given])
    assert "8.800 %       given, 8.83 in the paper" in capsys.readouterr().out


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def command(source, tmp_path, monkeypatch, few_ways):
    """(*arguments) -> the report of a tiny race."""
    monkeypatch.setattr(sst, "run", functools.partial(sst.run, batch=BATCH))
    monkeypatch.setattr(sst, "GAMES", {"hidden": sst.GAMES["hidden"]})
    monkeypatch.setattr(bert, "measure_memory", lambda *_: {"ours": 1.0})
    places = ["--model", source.model, "--raw-dir", source.places.raw_dir]
    places += ["--data-dir", source.places.data_dir]

    def run(*arguments):
        throughput.main([*arguments, *places, "--out", str(tmp_path / "report"), "--rounds", "1"])
        return json.loads((tmp_path / "report" / "report.json").read_text())

    return run


@pytest.mark.long
def test_a_race_on_sst_reports_every_round(command, tmp_path):
    report = command("sst", "--precision", "float32")
    claims = {claim["id"]: claim for claim in report["claims"]}
    for name in ("vs_authors_style", "vs_best_pytorch", "cached.vs_best_pytorch"):
        assert claims[f"sst.hidden.{name}"]["ours"] > 0
    rounds = report["raw"]["sst"]["hidden"]["rounds"]
    assert all(len(laps) == 1 and laps[0]["examples"] > 0 for laps in rounds.values())
    ours, theirs = (rounds[name][0] for name in ("ours", "PyTorch, authors' style"))
    ratio = (ours["examples"] / ours["seconds"]) / (theirs["examples"] / theirs["seconds"])
    assert claims["sst.hidden.vs_authors_style"]["ours"] == pytest.approx(ratio)
    assert "| ours |" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.long
def test_explaining_is_raced_against_integrated_gradients(command, monkeypatch):
    short = functools.partial(explain.run, steps=2)
    monkeypatch.setattr(explain, "run", short)
    monkeypatch.setattr(explain, "matrix_rate", lambda precision: 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(explain, "prepare", functools.partial(prepare, batch=BATCH, steps=2))
        report = command("explain")
    claims = {claim["id"]: claim["ours"] for claim in report["claims"]}
    assert [*claims] == ["explain.vs_integrated_gradients", "explain.ms_a_text"]
    assert min(claims.values()) > 0
    assert report["raw"]["explain"]["largest_relative_difference"] < 1e-3


def test_what_explaining_needs_is_counted_by_hand(contest):
    setup = prepare(contest.classifier, "input", batch=BATCH)
    sizes, layers = setup.sizes, len(setup.game.model.layers)
    rows, length, hidden = 3, 10, setup.probe["gates"][0]["first"]["kernel"].shape[1]
    weights = 4 * sizes.width**2 + 2 * sizes.width * sizes.intermediate
    products = rows * length * (weights + 2 * length * sizes.width)  # attention's: q·kᵀ, and of v
    gates = rows * length * layers * (2 * sizes.width * hidden + hidden)
    inputs = batches.pad([data.text(range(length))] * rows, length)
    assert explain.needed(setup, inputs) == 2 * (sizes.blocks * products + gates)


@pytest.mark.long  # models/test_span_head.py compares span heads with PyTorch's
def test_squads_race_is_one_of_span_heads(command, tmp_path, monkeypatch):
    """Ours, PyTorch's own BertForQuestionAnswering and every way compute the same at padding."""
    sizes = {"vocabulary": 40, "positions": 20, "width": 16, "heads": 2, "intermediate": 24}
    tiny = dataclasses.replace(data.small(1), **sizes)
    works = {"squad": squad.Work(tiny, 12, batch=2, steps=1, each=1, rounds=1)}
    monkeypatch.setattr(squad, "run", functools.partial(squad.run, works=works))
    monkeypatch.setattr(bert, "measure_memory", lambda *_: {"ours": 7.0})
    monkeypatch.setattr(bert, "matrix_rate", lambda precision: 1e9)
    report = command("squad", "--precision", "float32")
    claims = {claim["id"]: claim["ours"] for claim in report["claims"]}
    assert claims["squad.vs_best_pytorch"] > 0 and claims["squad.vs_authors_style"] > 0
    found = report["raw"]["squad"]["squad"]
    differences = found["largest_relative_differences"]
    assert max(differences.values()) < 1e-4 and any(bert_check.AUTHORS in of for of in differences)
    assert set(found["heats"]["float32"]) == set(contenders.ways("float32", reads=None))
    assert "| 7 MiB |" in (tmp_path / "report" / "report.md").read_text()
    answerer = data.random_answerer(tiny)
    theirs = contenders.bert.hugging_face(answerer, "sdpa")
    assert type(theirs).__name__ == answerer.architecture.class_name == "BertForQuestionAnswering"


@pytest.mark.long
def test_growth_is_drawn_and_memory_and_bytes_are_claimed(command, tmp_path, monkeypatch):
    def apart(count):
        sizes = {"64": 109, "128": 109 if count < 4 else 218}
        return {"devices": count, "exchanged": sizes, "gradient_bytes": 100, "other_bytes": 9,
                "examples_per_second": 10.0, "mib": 5.0}  # fmt: skip

    def cost_of(_, point):  # as a program that holds the weights of attention of a whole block
        mib = point.batch * point.length**2 * point.blocks
        return growth.Cost({"ours": [2.0], "PyTorch": [1.0]}, mib)

    monkeypatch.setattr(growth, "measure_apart", apart)
    monkeypatch.setattr(growth, "cost_of", cost_of)
    report = command("growth")
    assert {claim["id"]: claim["holds"] for claim in report["claims"]} == {
        "growth.bytes": False, "growth.bytes_with_batch": False,
        "growth.memory_with_batch": True, "growth.memory_with_length": False,
        "growth.memory_with_blocks": True,
    }  # fmt: skip
    assert (tmp_path / "report" / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sst"], "no model to measure: pass --model FOLDER"),
        (["toy", "--rounds", "0"], "--rounds must be at least 1"),
        (["hidden"], "no model to measure"),
    ],
)
def test_what_cannot_be_raced_is_refused_in_one_line(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        throughput.main([*arguments, "--out", str(tmp_path / "report")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_pytorch_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        throughput.main(["toy", "--out", str(tmp_path)])
    assert stopped.value.code == 2 and "PyTorch needs torch" in capsys.readouterr().err


# --- many texts -------------------------------------------------------------------------------


def test_memory_that_grows_with_the_texts_does_not_hold(tmp_path, monkeypatch):
    grown = {100: 500.0, 1000: 590.0, 10_000: 700.0}
    monkeypatch.setattr(texts, "measured", lambda _, n, __: {"mib": grown[n], "seconds": n / 50})
    for counts, holds in (((100, 1000), True), ((100, 10_000), False)):
        texts.run(tmp_path, tmp_path / "run", counts)
        told = json.loads((tmp_path / "report.json").read_text())
        assert [claim["holds"] for claim in told["claims"]] == [holds]
    assert "| 10,000 | 700 MiB | 200.0 s | 50 |" in (tmp_path / "report.md").read_text()


@pytest.mark.long
def test_a_random_run_is_explained_in_a_process_of_its_own(tmp_path):
    found = texts.measured(texts.random_run(tmp_path), 3, tmp_path)
    assert found["mib"] > 100 and found["seconds"] > 1
