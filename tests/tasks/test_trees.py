"""Trees: what is written is read back, and what is broken is named with its file and line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.trees import Sentence, parse_tree, read_trees

WORDS = st.text(st.characters(exclude_characters="()\\", exclude_categories=["Cs"]), min_size=1)
# The words that hold one of the six ASCII blanks could not be told apart from two words.
WORDS = WORDS.filter(lambda word: not re.search(r"\s", word, re.ASCII))
LEAVES = st.tuples(st.integers(0, 4), WORDS)
TREES = st.recursive(
    LEAVES,
    lambda children: st.tuples(st.integers(0, 4), st.lists(children, min_size=1, max_size=3)),
    max_leaves=12,
)


def render(tree) -> str:
    label, content = tree
    if isinstance(content, str):
        escaped = content.replace("/", "\\/").replace("*", "\\*")
        return f"({label} {escaped})"
    return f"({label} {' '.join(map(render, content))})"


def leaves(tree) -> list[tuple[int, str]]:
    label, content = tree
    if isinstance(content, str):
        return [(label, content)]
    return [leaf for child in content for leaf in leaves(child)]


@given(TREES)
def test_a_rendered_tree_is_read_back(tree):
    labels, words = zip(*leaves(tree), strict=True)
    assert parse_tree(render(tree), "here") == Sentence(words, labels, tree[0])


def test_words_labels_and_text():
    sentence = parse_tree(r"(3 (2 It) (4 (2 's) (0 (3 good\/fine) (1 (2 \*)))))", "here")
    assert sentence == Sentence(("It", "'s", "good/fine", "*"), (2, 2, 3, 2), 3)
    assert sentence.text == "It 's good/fine *"


def test_a_no_break_space_belongs_to_its_word():
    assert parse_tree("(2 (2 8\xa01\\/2) (3 Women))", "here").words == ("8\xa01/2", "Women")


def test_depth_beyond_the_call_stack():
    depth = 5000
    line = "(1 " * depth + "(4 deep)" + ")" * depth
    assert parse_tree(line, "here") == Sentence(("deep",), (4,), 1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "an empty line"),
        ("   ", "an empty line"),
        ("word", "broken tree at column 1, 'word'"),
        (")", "broken tree at column 1"),
        ("()", "broken tree"),
        ("(3)", "broken tree"),
        ("(3 )", "broken tree"),
        ("(3 (2 a) ())", "broken tree at column 10, '())'"),
        ("(good)", "broken tree"),
        ("((2 a) (2 b))", "broken tree at column 1"),
        ("(3 (a) (2 b))", "broken tree"),
        ("(5 (2 a) (2 b))", "broken tree at column 1"),
        ("(3 (7 bad) (2 b))", "broken tree at column 4, '(7 bad) (2 b))'"),
        ("(3 (-1 bad) (2 b))", "broken tree at column 4"),
        ("(3 (22 bad) (2 b))", "broken tree at column 4"),
        ("(3 (2 two words) (2 b))", "broken tree at column 4"),
        ("(3 (2 a) word)", "broken tree at column 10, 'word)'"),
        ("(3 word (2 a))", "broken tree"),
        ("(3 (2 a) (2 b)", "ends with 1 of its '(' still open"),
        ("(3 (2 (2 (2 a) (2 b)", "ends with 3 of its '(' still open"),
        ("(3 (2 a) (2 b)))", "text after the end of the tree at column 16, ')'"),
        ("(3 (2 a) (2 b)) (2 c)", "text after the end of the tree at column 17"),
        ("(3 a) word", "text after the end of the tree at column 7, 'word'"),
    ],
)
def test_a_broken_line_is_named(line, says):
    with pytest.raises(UserError) as error:
        parse_tree(line, "dev.txt:17")
    assert str(error.value).startswith("dev.txt:17: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_read_trees_keeps_the_order_and_allows_a_blank_end(tmp_path):
    path = tmp_path / "dev.txt"
    expected = [Sentence(("é",), (2,), 2), Sentence(("b",), (0,), 0)]
    for content in (
        "(2 é)\n(0 b)",
        "(2 é)\n(0 b)\n",
        "(2 é)\r\n(0 b)\r\n\r\n",
        "\ufeff(2 é)\n(0 b)",
    ):
        path.write_bytes(content.encode())
        assert read_trees(path) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"(2 a)\n\n(2 b)\n", "dev.txt:2: an empty line"),
        (b"(2 a)\n(2 b)\n(9 c)\n", "dev.txt:3: broken tree"),
        (b"", "dev.txt:1: an empty line"),
        ("(2 caf\u00e9)\n".encode("latin-1"), "dev.txt: not UTF-8 text (byte 6)"),
    ],
)
def test_read_trees_names_file_and_line(tmp_path, content, says):
    path = tmp_path / "dev.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(says)):
        read_trees(path)


def test_read_trees_of_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*dev\.txt: No such file"):
        read_trees(tmp_path / "dev.txt")
