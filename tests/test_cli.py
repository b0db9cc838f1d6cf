"""The command line: what goes right is quiet and complete, what goes wrong is one line."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax import __version__, cli
from diffmask_jax.commands import explain as explaining
from diffmask_jax.data import batches
from diffmask_jax.models.gru_classifier import GRU_CLASSIFIER
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime.files import is_standard_output
from diffmask_jax.training import classifier, keeping
from diffmask_jax.training.assessment import Assessment, Finding

TEXT = "the film is great fun"


@pytest.fixture
def explain(run, capsys):
    """Explain with the random probe, in this process: (status, stdout, stderr)."""

    def command(*arguments) -> tuple[int, str, str]:
        status = cli.main(["explain", str(run), *map(str, arguments)])
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def refused(capsys, tmp_path):
    """The line on stderr of a command that must fail with status 2 and leave no file behind."""

    def command(*arguments) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert cli.main([*map(str, arguments)]) == 2
        written = capsys.readouterr()
        assert written.out == ""
        assert written.err.startswith("diffmask: ") and written.err.endswith("\n")
        assert written.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return written.err

    return command


def process(*arguments, **keywords) -> subprocess.Popen:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "diffmask_jax.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords,
    )  # fmt: skip


# --- explaining ------------------------------------------------------------------------------


def test_a_text_is_drawn_and_nothing_else_is_said(explain):
    status, out, err = explain(TEXT)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("“bad” with probability 0.")
    assert lines[2].split() == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert lines[3].split()[0] == "2" and len(lines[3].split()) == 8


def test_layers_print_a_row_each(explain):
    _, out, _ = explain(TEXT, "--layers")
    assert [line.split()[0] for line in out.splitlines()[3:7]] == ["2", "1", "E", "W"]


def test_texts_may_stand_before_or_behind_the_options(explain):
    expected = explain(TEXT, "a dull plot", "--layers")
    assert expected[0] == 0 and expected[1].count("with probability") == 2
    assert explain("--layers", TEXT, "a dull plot") == expected
    assert explain(TEXT, "--layers", "a dull plot") == expected
    assert explain("--layers", "--", TEXT, "a dull plot") == expected
    in_a_list = explain("- a dull plot", "--layers")
    assert in_a_list[0] == 0 and explain("--layers", "- a dull plot") == in_a_list


def test_an_unknown_option_is_not_taken_for_a_text(explain, capsys):
    with pytest.raises(SystemExit) as ended:
        explain(TEXT, "--layer-names")
    assert ended.value.code == 2
    assert "unrecognized arguments: --layer-names" in capsys.readouterr().err


def test_files_of_every_kind(explain, tmp_path):
    places = {option: tmp_path / f"a.{option}" for option in ("png", "html", "jsonl")}
    options = [word for name, place in places.items() for word in (f"--{name}", place)]
    status, out, err = explain(TEXT, *options)
    assert (status, err) == (0, "") and out.startswith("“bad”")
    assert places["png"].read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert places["html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    (line,) = places["jsonl"].read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert found["text"] == TEXT and np.shape(found["keep"]) == (4, 7)
    assert sorted(tmp_path.iterdir()) == sorted(places.values())


def test_what_is_written_to_standard_output_has_nothing_drawn_into_it(
    explain, tmp_path, monkeypatch
):
    out = tmp_path / "a.jsonl"
    assert is_standard_output("/dev/stdout")
    assert not is_standard_output(out) and not is_standard_output(None)
    monkeypatch.setattr(explaining, "is_standard_output", lambda path: path == out)
    assert explain(TEXT, "--jsonl", out) == (0, "", "")
    assert json.loads(out.read_text(encoding="utf-8"))["text"] == TEXT


def test_a_probe_that_is_not_good_says_so(explain, run, monkeypatch):
    findings = (Finding(True, "agrees"), Finding(False, "divergence is over"))
    for answer in ("not good", "not settled"):
        verdict = Assessment(answer, findings, ())
        monkeypatch.setattr(keeping, "assessed", lambda _, verdict=verdict: verdict)
        status, out, err = explain(TEXT)
        assert status == 0 and out.startswith("“bad”")
        said = f"the probe is not good: divergence is over; `diffmask report {run}` says more\n"
        assert err == (said if answer == "not good" else "")


def test_a_file_of_many_texts_is_written_and_not_drawn(explain, sentences, texts_file, tmp_path):
    status, out, err = explain("--file", texts_file, "--jsonl", tmp_path / "a.jsonl")
    assert (status, out, err) == (0, "", "")
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == list(sentences)


def test_a_longer_text_can_be_cut(explain):
    status, out, _ = explain("fun " * 30, "--truncate", "--layers")
    assert status == 0 and "[SEP]" in out


@pytest.mark.parametrize(
    ("terminal", "no_color", "asked", "colored"),
    [
        (False, None, "auto", False),
        (True, None, "auto", True),
        (True, "1", "auto", False),
        (True, "", "auto", True),  # as no-color.org has it
        (True, "1", "always", True),
        (True, None, "never", False),
    ],
)
def test_colour(explain, monkeypatch, terminal, no_color, asked, colored):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    _, out, _ = explain(TEXT, "--color", asked)
    assert ("\x1b[" in out) is colored


# --- in a process of its own -----------------------------------------------------------------


def test_piped_texts_come_out_in_order_and_nothing_is_said(run, sentences, tmp_path):
    texts = [*sentences] * 10
    with process("explain", run, "--jsonl", "/dev/stdout", stdin=subprocess.PIPE) as command:
        out, err = command.communicate("\n".join(texts), timeout=600)
    assert (command.returncode, err) == (0, "")
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts


def test_a_reader_that_leaves_is_no_reason_to_complain(run, sentences, tmp_path):
    """As `head -1` does. The rest must be more than a pipe holds."""
    file = tmp_path / "texts.txt"
    file.write_text("\n".join([*sentences] * 50))
    with process("explain", run, "--file", file, "--layers", "--color", "always") as command:
        assert "with probability" in command.stdout.readline()
        command.stdout.close()
        assert command.stderr.read() == ""
        assert command.wait(timeout=600) == 0


@pytest.mark.parametrize("command", ["--help", "train texts --help"])
def test_help_that_cannot_be_written_is_a_line(command, child_environment):
    """`> /dev/full`, a reader that has left, `>&-`: nothing is complained of at exit."""

    def done(where: str) -> tuple[int, str]:
        ended = subprocess.run(
            ["bash", "-c", f'set -o pipefail; "$0" -m diffmask_jax.cli {command} {where}', python],
            env=child_environment(), stderr=subprocess.PIPE, text=True, timeout=600,
        )  # fmt: skip
        return ended.returncode, ended.stderr

    python = sys.executable
    said = "diffmask: cannot write standard output: No space left on device\n"
    assert done("> /dev/full") == (2, said)
    if command == "--help":
        assert done("| true") == done("| head -1 > /dev/null") == done(">&-") == (0, "")


def test_a_full_disk_and_a_closed_output_are_no_traceback(monkeypatch, capsys):
    """`> /dev/full` and `>&-`."""
    monkeypatch.setattr("diffmask_jax.commands.explain.run", lambda options: print("x"))
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["explain", "run", "text"]) == 2
    assert capsys.readouterr().err == (
        "diffmask: cannot write standard output: No space left on device\n"
    )
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["explain", "run", "text"]) == 0
    sys.stdout.close()


def test_a_mistake_ends_with_status_2_and_one_line(run, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    command = [sys.executable, "-m", "diffmask_jax.cli", "explain", run, "fun", "--truncate", ""]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "diffmask: text 2: the text is empty or blank: ''\n"
    assert (tmp_path / "diffmask_jax").is_dir()  # where it keeps its compiled programs


def test_a_terminal_that_is_not_utf_8_gets_question_marks(run, monkeypatch, capsys):
    written = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        assert cli.main(["explain", str(run), TEXT]) == 0
        assert written.getvalue().startswith(b"?bad? with probability")
    assert capsys.readouterr().err == ""


# --- bad input to explain --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_text(refused, run, text):
    assert "empty or blank" in refused("explain", run, text)


def test_a_text_longer_than_the_model_takes(refused, run):
    line = refused("explain", run, TEXT, "fun " * 30)
    assert "text 2: " in line and "32 word pieces" in line and "limit is 20" in line
    assert "--truncate" in line


def test_a_text_that_is_not_unicode(refused, run):
    assert "not valid Unicode" in refused("explain", run, "fun \udcff")


def test_texts_from_two_places(refused, run, texts_file):
    assert "not both" in refused("explain", run, TEXT, "--file", texts_file)


def test_a_picture_of_two_texts(refused, run, texts_file, tmp_path):
    for texts in ([TEXT, TEXT], ["--file", texts_file]):
        line = refused("explain", run, *texts, "--png", tmp_path / "a.png")
        assert "--picture draws one text, not " in line
    line = refused("explain", run, TEXT, "--picture", tmp_path / "a.jpg")
    assert "a.jpg: its name must end in .png, .svg, .pdf or .tex" in line


def test_a_file_that_cannot_be_read(refused, run, tmp_path):
    assert f"cannot read {tmp_path / 'no.txt'}" in refused(
        "explain", run, "--file", tmp_path / "no.txt"
    )
    assert f"{tmp_path} is a folder, but" in refused("explain", run, "--file", tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "latin.txt: not UTF-8" in refused("explain", run, "--file", tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    assert "empty.txt contains no text" in refused("explain", run, "--file", tmp_path / "empty.txt")


def test_no_text_at_all(refused, run, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "nothing to explain" in refused("explain", run)
    monkeypatch.setattr(sys, "stdin", None)  # as after `<&-`
    assert "nothing to explain" in refused("explain", run)


@pytest.mark.parametrize("option", ["--png", "--html", "--jsonl"])
def test_a_place_that_cannot_be_written(refused, run, tmp_path, option):
    missing = tmp_path / "no" / "file"
    assert f"the folder {missing.parent} does not exist" in refused(
        "explain", run, TEXT, option, missing
    )
    assert "it is a folder" in refused("explain", run, TEXT, option, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(refused, run, tmp_path):
    tmp_path.chmod(0o500)
    assert "permission denied" in refused("explain", run, TEXT, "--jsonl", tmp_path / "a.jsonl")


def test_a_folder_without_a_run(refused, tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        assert f"{folder} is not a run folder" in refused("explain", folder, TEXT)
    for content, says in {
        '{"model": "m", "task": "texts", "depth": 3}': "there is no setting 'depth'",
        "{}": "the field 'model' is missing",
        '{"model": "m"}': "the field 'task' is missing",
        '{"model": 3, "task": "texts"}': "the field 'model' must be text, not 3",
    }.items():
        (tmp_path / "config.json").write_text(content)
        line = refused("explain", tmp_path, TEXT)
        assert "is not a run's configuration" in line and says in line and "()" not in line


def test_a_model_is_no_run_and_a_run_no_model(refused, run, tiny_bert, texts_file, tmp_path):
    for command in (["explain", tiny_bert, TEXT], ["evaluate", tiny_bert], ["report", tiny_bert]):
        assert f"{tiny_bert} contains a model, not a run" in refused(*command)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "vocab_size": 9}')
    assert "contains a model, not a run" in refused("explain", tmp_path, TEXT)
    places = ["--train", texts_file, "--dev", texts_file, "--out", tmp_path / "run"]
    line = refused("train", "texts", "--model", run, *places)
    assert f"{run / 'config.json'} names no model_type: the folder contains a run" in line


def test_what_is_no_text_is_not_explained_as_one(refused, run, texts_file):
    for file in (texts_file, texts_file.with_name("reviews.json"), texts_file.parent):
        file.touch()
        assert f"pass it as --file {file}" in refused("explain", run, file)
    assert "- is not a text: leave it out" in refused("explain", run, "-")
    for layer in (3, "0-2", "1, 2", "-1", "E", "all"):
        line = refused("explain", run, "--layers", "--", TEXT, layer)
        assert f"--layers takes no value, so {layer} would be" in line


@pytest.mark.parametrize("nasty", ["a\0b", "\udcff", "x" * 5000])
def test_names_that_cannot_be_are_a_line(refused, run, tiny_bert, texts_file, tmp_path, nasty):
    """Of files, folders, splits and methods: told by what is wrong, or that there is no such."""
    out = ["--out", tmp_path / "run"]
    places = ["--train", texts_file, "--dev", texts_file]
    for command in (
        ["explain", nasty, TEXT],
        ["explain", run, TEXT, "--model", f"./{nasty}/x"],
        ["explain", run, "--file", f"./{nasty}.txt"],
        ["explain", run, TEXT, "--jsonl", f"./{nasty}/x.jsonl"],
        ["evaluate", run, "--split", f"_{nasty}"],
        ["report", run, "--out", f"./{nasty}/x.html"],
        ["train", "texts", "--model", f"./{nasty}", *places, *out],
        [
            "train",
            "texts",
            "--model",
            tiny_bert,
            *places,
            "--batch-size",
            4,
            "--out",
            f"{texts_file}/{nasty}",
        ],
        ["train", "texts", "--model", tiny_bert, *places, "--dev", f"./{nasty}.tsv", *out],
        ["finetune", "texts", "--model", tiny_bert, *places, "--train", f"./{nasty}.csv", *out],
    ):
        assert refused(*command)[:-1].isprintable()


def test_a_run_without_its_probe_or_with_a_damaged_one(refused, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    probe = folder / "probe.safetensors"
    probe.write_bytes(probe.read_bytes()[:-1])
    assert f"{probe} is damaged" in refused("explain", folder, TEXT)
    probe.unlink()
    assert "has no kept probe yet" in refused("explain", folder, TEXT)


def test_a_model_that_cannot_be_had_or_used(refused, run, tiny_bert, tmp_path):
    def spoiled(name: str, **tensors) -> Path:
        """A copy of the model with some tensors replaced, or taken away."""
        folder = shutil.copytree(tiny_bert, tmp_path / name)
        held = safetensors.numpy.load_file(folder / "model.safetensors") | tensors
        held = {key: tensor for key, tensor in held.items() if tensor is not None}
        safetensors.numpy.save_file(held, folder / "model.safetensors")
        return folder

    def line(model: Path) -> str:
        return refused("explain", run, "--model", model, TEXT)

    assert f"no folder {tmp_path / 'nothing'}" in line(tmp_path / "nothing")

    cut = shutil.copytree(tiny_bert, tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:5000])
    assert f"{cut} cannot be read, it is damaged or cut short" in line(cut.parent)

    name = "bert.encoder.layer.1.output.dense.weight"
    assert f"lack the tensor {name}" in line(spoiled("less", **{name: None}))
    found = line(spoiled("other", **{name: np.zeros((2, 3), np.float32)}))
    assert f"tensor {name} has shape (2, 3)" in found and "(16, 24)" in found

    kind = shutil.copytree(tiny_bert, tmp_path / "kind") / "config.json"
    kind.write_text(kind.read_text().replace('"bert"', '"t5"'))
    found = line(kind.parent)
    assert "model_type 't5' is not supported, only " in found and "bert" in found


# --- bad input to train ----------------------------------------------------------------------


@pytest.fixture
def train(refused, tiny_bert, texts_file, tmp_path):
    """The line of a training on texts that must fail before it makes its folder."""

    def command(*more) -> str:
        places = ["--train", texts_file, "--dev", texts_file, "--out", tmp_path / "run"]
        return refused("train", "texts", "--model", tiny_bert, *places, *more)

    return command


def test_a_batch_larger_than_the_data(train):
    assert "8 texts do not fill one batch of 9: lower --batch-size" in train("--batch-size", 9)


def test_depths_by_example_for_hidden_states(train):
    told = train("--batch-size", 3)
    assert "a batch of 3 has no example for each of 4 layers: use --batch-size 4 or more" in told
    told = train("--batch-size", 8, "--accumulate", 4)
    assert "a batch of 8 in 4 parts has no example for each of 4 layers" in told
    assert "use --batch-size 16 or more, or --layers batch" in told


def test_training_texts_that_cannot_be_used(train, tmp_path):
    assert "cannot read" in train("--train", tmp_path / "no.txt")
    (tmp_path / "long.txt").write_text("fun\n" + "fun " * 30)
    assert "text 2: the text has 32 word pieces" in train("--dev", tmp_path / "long.txt")


def test_texts_without_files(refused, tiny_bert, tmp_path):
    line = refused("train", "texts", "--model", tiny_bert, "--out", tmp_path / "run")
    assert "--train FILE and --dev FILE" in line


def test_a_folder_of_something_else(train, tmp_path):
    (tmp_path / "thesis.txt").write_text("not yours")
    small = ["--batch-size", 4, "--out"]
    assert f"{tmp_path} is not empty and contains no run" in train(*small, tmp_path)
    assert "cannot make or lock the folder" in train(*small, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "not yours"


def test_a_run_with_another_configuration(refused, run, tiny_bert, texts_file):
    places = ["--train", texts_file, "--dev", texts_file, "--batch-size", 4, "--seed", 5]
    line = refused("train", "texts", "--model", tiny_bert, "--out", run, *places)
    assert f"{run} contains a run with another configuration" in line
    assert "seed 0 → 5" in line and "batch_size 32 → 4" in line and "margin" not in line


def test_a_broken_tree(refused, tiny_bert, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    raw = tmp_path / "sst"
    raw.mkdir()
    for split in ("train", "dev", "test"):
        (raw / f"{split}.txt").write_text("(2 (2 fun) (2 .))\n(2 (2 dull) (2 .)\n")
    places = ["--raw-dir", raw, "--data-dir", tmp_path.parent / f"{tmp_path.name}-data"]
    line = refused("train", "sst", "--model", tiny_bert, "--out", tmp_path / "run", *places)
    assert "train.txt:2: the tree ends with 1 of its '(' still open" in line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"), ("--steps", "1.5"), ("--margin", "-1"), ("--margin", "nan"),
        ("--probe-rate", "inf"), ("--warmup", "-1"), ("--seed", "-1"), ("--seed", str(2**32)),
        ("--gate", "output"), ("--sparsity", "l1"),
    ],
)  # fmt: skip
def test_numbers_and_names_out_of_range(capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "texts", "--model", "m", "--out", "o", f"{option}={value}"])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}" in last and value in last


# --- bad input to evaluate -------------------------------------------------------------------


def test_an_evaluation_of_what_is_not_there(refused, run, tmp_path):
    assert "is not a run folder" in refused("evaluate", tmp_path)
    line = refused("evaluate", run, "--split", "test")
    assert "no test split, only train, dev: for other texts, evaluate with --texts FILE" in line
    assert "cannot read" in refused("evaluate", run, "--texts", tmp_path / "no.txt")
    for command in ("evaluate", "report"):
        line = refused(command, run, "--texts", tmp_path / "no.txt", "--split", "dev")
        assert "pass --texts or --split, not both" in line


def test_an_evaluation_checks_its_place_first(refused, run, texts_file, tmp_path):
    def line(out: Path) -> str:
        return refused("evaluate", run, "--texts", texts_file, "--out", out)

    assert "does not exist" in line(tmp_path / "no" / "a.json")
    assert "its name must end in .json" in line(tmp_path / "a.md")
    (tmp_path / "folder.json").mkdir()
    assert "it is a folder" in line(tmp_path / "folder.json")


# --- the rest --------------------------------------------------------------------------------


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


def test_no_command_is_told_what_there_is(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    assert "train" in capsys.readouterr().err


# --- fine-tuning -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    """A folder of trees in the tiny classifier's words, labelled by one of them."""
    pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("treebank")
    words = ["bad", "dull", "film", "fun", "great"]
    trees = [f"({n % 5} (2 the) ({n % 5} {words[n % 5]}))\n" for n in range(10)]
    for split in ("train", "dev", "test"):
        (folder / f"{split}.txt").write_text("".join(trees))
    return ["--raw-dir", folder, "--data-dir", folder / "data"]


@pytest.mark.long
def test_a_gru_can_be_fine_tuned_trained_on_explained_and_evaluated(
    tiny_bert, treebank, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(batches, "LENGTHS", (8,))  # half of what there is to compile for 16
    model, run = tmp_path / "gru", tmp_path / "run"
    gru = ["--model", "gru", "--embeddings", tiny_bert]
    command = ["finetune", "sst", *gru, *treebank, "--out", model]
    settings = ["--epochs", 2, "--batch-size", 5, "--encoder-rate", 0.01, "--head-rate", 0.01]
    assert cli.main([*map(str, [*command, *settings])]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("macro_f1") == 2
    assert printed.err.startswith("fine-tuning ")
    assert "kept epoch" in printed.out.splitlines()[-1]

    labels = json.loads((model / "config.json").read_text())["id2label"]
    assert labels["0"] == "very negative" and labels["4"] == "very positive"
    train = ["train", "sst", "--model", model, *treebank, "--gate", "input", "--out", run]
    few = ["--steps", 1, "--steps-per-call", 1, "--batch-size", 2, "--validate-every", 1]
    loose = ["--tolerance", 1e4, "--min-agreement", 1e-9]
    assert cli.main([*map(str, [*train, *few, *loose])]) == 0
    capsys.readouterr()
    assert cli.main(["explain", str(run), "the film", "--layers"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:]] == ["W", "keep"]
    assert cli.main(["evaluate", str(run)]) == 0
    assert "macro-F1" in capsys.readouterr().out
    assert json.loads((run / "evaluation-dev.json").read_text())["layers"] == ["W", "mean"]


@pytest.fixture
def asked(monkeypatch):
    """What `finetune` is called with, instead of fine-tuning: (model, train, dev, recipe, …)."""
    calls = []

    def finetune(*arguments):
        calls.append(arguments)
        return {"epoch": 1, "accuracy": 0.5, "macro_f1": 0.5}

    monkeypatch.setattr(classifier, "finetune", finetune)
    return calls


def test_a_gru_has_settings_of_its_own(tiny_bert, treebank, tmp_path, asked):
    command = ["finetune", "sst", *treebank, "--out", tmp_path / "model"]
    gru = ["--model", "gru", "--embeddings", tiny_bert, "--batch-size", 5]
    assert cli.main([*map(str, [*command, *gru])]) == 0
    assert cli.main([*map(str, [*command, "--model", tiny_bert])]) == 0
    (model, *_, recipe, _, _), (bert, *_, bert_recipe, _, _) = asked
    assert model.architecture is GRU_CLASSIFIER
    assert model.network.layers == ("W",) and len(bert.network.layers) == 4
    assert (recipe.epochs, recipe.encoder_rate, recipe.head_rate) == (8, 1e-3, 1e-3)
    assert recipe.batch_size == 5 and bert_recipe == Recipe()


@pytest.mark.parametrize("network", ["--model", "--model gru --embeddings"])
def test_the_seed_draws_what_is_new(tiny_bert, treebank, tmp_path, asked, network):
    command = ["finetune", "sst", *network.split(), tiny_bert, *treebank, "--out", tmp_path / "m"]
    for seed in (0, 0, 1):
        assert cli.main([*map(str, [*command, "--seed", seed])]) == 0
    first, again, other = (
        np.concatenate([*map(np.ravel, jax.tree.leaves(model.params["head"]))])
        for model, *_ in asked
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_embeddings_belong_to_a_gru(tiny_bert, tmp_path, refused):
    command = ["finetune", "sst", "--out", tmp_path / "model"]
    assert "pass the encoder as --embeddings" in refused(*command, "--model", "gru")
    both = ["--model", tiny_bert, "--embeddings", tiny_bert]
    assert "--embeddings goes with --model gru" in refused(*command, *both)
    assert "no folder" in refused(*command, "--model", "gru", "--embeddings", "a/b/c")


def test_a_fine_tuning_that_cannot_be_is_refused(tiny_bert, treebank, tmp_path, refused):
    command = ["finetune", "sst", "--model", tiny_bert, "--out", tmp_path / "model"]
    assert "no folder" in refused("finetune", "sst", "--model", "a/b/c", "--out", tmp_path / "m")
    assert "nowhere" in refused(*command, "--raw-dir", tmp_path / "nowhere")


def test_a_treebank_for_a_model_of_fewer_classes_is_refused(tiny_bert, treebank, tmp_path, refused):
    command = ["train", "sst", "--model", tiny_bert, *treebank, "--out", tmp_path / "run"]
    assert "labels 0–4, but the model has 3 classes" in refused(*command)
