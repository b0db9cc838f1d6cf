"""A treebank for experiments on the tiny models, and experiments as commands."""

import sys

import pytest


@pytest.fixture(scope="session")
def treebank(sentences, tmp_path_factory):
    """A folder of train.txt, dev.txt and test.txt: the same trees of the tiny models' words."""
    words = [text.replace(",", " ,").replace("!", " !").split() for text in sentences]
    trees = [
        f"({n % 5} {' '.join(f'({(n + i) % 5} {word})' for i, word in enumerate(text))})\n"
        for n, text in enumerate(words)
    ]
    folder = tmp_path_factory.mktemp("treebank")
    for split in ("train", "dev", "test"):
        (folder / f"{split}.txt").write_text("".join(trees))
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Where the treebank is prepared, by whoever needs it first."""
    return tmp_path_factory.mktemp("prepared") / "data"


@pytest.fixture
def command_of(monkeypatch):
    """(its module, {option: value}) -> a function that runs an experiment, some options changed.

    True is the value of an option that takes none.
    """

    def of(module, places):
        def run(**changed) -> None:
            named = {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
            parts = [part for option in (places | named).items() for part in option]
            arguments = [str(part) for part in parts if part is not True]
            monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
            module.main()

        return run

    return of
