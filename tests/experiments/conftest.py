"""A treebank for experiments on the tiny models."""

import pytest


@pytest.fixture
def treebank(sentences, tmp_path):
    """A folder of train.txt, dev.txt and test.txt: the same trees of the tiny models' words."""
    words = [text.replace(",", " ,").replace("!", " !").split() for text in sentences]
    trees = [
        f"({n % 5} {' '.join(f'({(n + i) % 5} {word})' for i, word in enumerate(text))})\n"
        for n, text in enumerate(words)
    ]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.txt").write_text("".join(trees))
    return tmp_path
