"""Each command says what it takes, what it does without being asked, and refuses all else."""

import argparse
import dataclasses

import pytest

from diffmask_jax import cli
from diffmask_jax.commands.arguments import Parser, add_settings, those_of
from diffmask_jax.commands.parse import _parser
from diffmask_jax.errors import UserError
from diffmask_jax.models.problem_types import QUESTION_ANSWERING
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime.settings import option
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training.config import RunConfig

COMMANDS = {"train": RunConfig, "finetune": Recipe}


@pytest.fixture
def told(capsys, monkeypatch):
    """(arguments) -> what `--help` prints of each option, in one line."""
    monkeypatch.setenv("COLUMNS", "1000")

    def command(*arguments: str) -> dict[str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--help"])
        assert ended.value.code == 0
        options = capsys.readouterr().out.split("\n  --")[1:]
        return {f"--{text.split()[0]}": " ".join(text.split()) for text in options}

    return command


@pytest.fixture
def refused(capsys):
    """The line on stderr of a command that is refused before it begins."""

    def command(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main([*map(str, arguments)])
        assert ended.value.code == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("diffmask: ") and err.count("\n") == 1
        return err

    return command


def settings_of(settings: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(settings) if "help" in field.metadata]


def options_of(parser: Parser) -> list[argparse.Action]:
    """All of a command's, and of the commands in it."""
    found = []
    for action in parser._actions:
        inner = action.choices if isinstance(action.choices, dict) else {}
        found += [action, *(one for other in inner.values() for one in options_of(other))]
    return found


# --- what is told ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_task_tells_only_what_it_takes_itself(told, command):
    for name, task in TASKS.items():
        options = set(told(command, name))
        of_tasks = {
            option(field.name) for other in TASKS.values() for field in settings_of(other.places)
        }
        own = {option(field.name) for field in settings_of(task.places)}
        assert options & of_tasks == own


def test_what_labels_are_is_asked_only_where_the_task_does_not_say(told):
    for name, task in TASKS.items():
        assert ("--problem-type" in told("finetune", name)) == (task.problem_type is None)
        assert "--problem-type" not in told("train", name)
    assert "default: single_label_classification" in told("finetune", "texts")["--problem-type"]


def test_a_gru_is_offered_only_where_it_can_be_had(told):
    for name, task in TASKS.items():
        options, offered = told("finetune", name), task.problem_type != QUESTION_ANSWERING
        assert ("gru" in options["--model"]) == ("--embeddings" in options) == offered


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("command", "settings"), COMMANDS.items())
def test_every_setting_is_an_option_with_its_help_and_its_default(told, command, settings, task):
    options = told(command, task)
    places = ("model", "task", "places")
    fields = [field for field in dataclasses.fields(settings) if field.name not in places]
    assert len(fields) > 5
    for field in [*fields, *settings_of(TASKS[task].places)]:
        line = options[option(field.name)]
        assert field.metadata["help"] in line
        default = field.metadata["told"] or field.default
        assert (f"(default: {default})" in line) == (default is not None and default is not False)
    assert options["--seed"].endswith("(default: 0)")


@pytest.mark.parametrize("command", [[c, t] for c in COMMANDS for t in TASKS])
def test_options_outside_the_settings_say_their_defaults_too(told, command):
    """What has none is either needed, a switch, or off."""
    silent = {name for name, line in told(*command).items() if "(default: " not in line}
    switches = {"--truncate", "--remat", "--cache-states", "--profile", "--anyway"}
    assert silent <= {"--model", "--out", "--embeddings", "--train", "--dev"} | switches


@pytest.mark.parametrize("command", ["explain", "evaluate", "compare"])
def test_the_other_commands_tell_every_option(told, command):
    for name, line in told(command).items():
        assert len(line.split()) > 4, name
    of_texts = {"text", "pair"}
    columns = {"explain": of_texts, "evaluate": of_texts | {"label"}, "compare": of_texts}
    named = {name[2 : -len("-column")] for name in told(command) if name.endswith("-column")}
    assert named == columns[command]


def test_a_command_without_its_task_is_told_which_there_are(refused):
    for command in COMMANDS:
        assert "{sst,texts,squad,questions}" in refused(command)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("explain RUN x --layer 3", "--layer 3"),
        ("explain RUN x --json a.jsonl", "--json a.jsonl"),
        ("explain RUN x --step 5", "--step 5"),
        ("evaluate RUN --text a.txt", "--text a.txt"),
        ("compare RUN --text x --htm a.html", "--htm a.html"),
        ("train texts --model m --out o --step 5", "--step 5"),
        ("train texts --mode m --out o", "--model"),
        ("finetune sst --model m --out o --epoch 5", "--epoch 5"),
        ("train sst --model m --out o --train a.txt", "--train a.txt"),
        ("train sst --model m --out o --text-column a", "--text-column a"),
        ("train texts --model m --out o --raw-dir a", "--raw-dir a"),
        ("finetune texts --model m --out o --data-dir a", "--data-dir a"),
        ("finetune sst --model m --out o --problem-type regression", "--problem-type regression"),
        ("finetune squad --model m --out o --problem-type regression", "--problem-type regression"),
        ("train questions --model m --out o --text-column a", "--text-column a"),
        ("train squad --model m --out o --dev a", "--dev a"),
        ("train texts --model m --out o --problem-type regression", "--problem-type regression"),
        ("train texts --model m --out o more", "more"),
    ],
)
def test_abbreviations_and_options_of_others_are_refused(refused, arguments, says):
    line = refused(*arguments.split())
    assert says in line
    command = " ".join(arguments.split()[: 2 if arguments.split()[0] in COMMANDS else 1])
    assert f"(see diffmask {command} --help)" in line


@pytest.mark.parametrize(
    ("command", "given", "says"),
    [
        ("train", "--min-agreement 90", "(0, 1], not 90"),
        ("train", "--min-agreement 0", "(0, 1], not 0"),
        ("train", "--min-agreement nan", "(0, 1], not nan"),
        ("train", "--batch-size 1e3", "invalid whole number value: '1e3'"),
        ("train", "--margin much", "invalid number value: 'much'"),
        ("finetune", "--warmup 1.5", "[0, 1], not 1.5"),
        ("finetune", "--clip 0", "positive number, not 0"),
        ("finetune", "--problem-type ranking", "'ranking'"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_can(refused, command, given, says):
    line = refused(command, "texts", "--model", "m", "--out", "o", *given.split())
    assert f"argument {given.split()[0]}: " in line and says in line


def test_from_python_the_same_values_are_refused():
    with pytest.raises(UserError, match=r"warmup must lie in \[0, 1\], not 1.5"):
        Recipe(warmup=1.5)


# --- from settings to options and back -------------------------------------------------------


def test_what_is_left_out_is_absent_and_what_is_given_is_read_as_its_type():
    parser = Parser()
    add_settings(parser, Recipe)
    assert those_of(Recipe, parser.parse_args([])) == {}
    given = parser.parse_args(["--epochs", "2", "--clip", "3", "--seed", "0"])
    assert those_of(Recipe, given) == {"epochs": 2, "clip": 3.0, "seed": 0}


def test_a_dash_names_no_file(refused):
    """Elsewhere it is a stream; here it would be a file of that name."""
    for arguments in ("explain run fun --html -", "explain run --file -", "report run --out -"):
        assert "- is not a file name: use /dev/stdin" in refused(*arguments.split())


TEXTS = {"text", "pair", "question", "passage"}  # which have messages of their own


def test_whatever_names_something_refuses_an_empty_name():
    """`--out "$NEVER_SET"` would else be this folder."""
    named = [
        action
        for action in options_of(_parser())
        if action.nargs in (None, "+") and not action.choices and action.dest not in TEXTS
    ]
    assert {"run", "runs", "out", "html", "jsonl", "model", "train", "steps"} <= {
        action.dest for action in named
    }
    for action in named:
        for blank in ("", " ", "\t"):
            with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                (action.type or str)(blank)
