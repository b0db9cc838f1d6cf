"""What sets the two probes apart stands in one place: nothing else asks which gate it is."""

import ast
from pathlib import Path

import diffmask_jax

PACKAGE = Path(diffmask_jax.__file__).parent
OWN = {PACKAGE / "game" / "probes.py", PACKAGE / "game" / "gates.py"}
NAMES = {"input", "hidden"}


def asks_which_gate(node: ast.AST) -> bool:
    """x.gate == …, gate == "input", "hidden" != gate, gate in ("input", …), match gate: …"""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        constants = {
            leaf.value for s in sides for leaf in ast.walk(s) if type(leaf) is ast.Constant
        }
        about_gates = any(
            isinstance(side, ast.Attribute) and "gate" in ast.unparse(side).split(".")
            for side in sides
        )
        return about_gates or bool(constants & NAMES)
    return isinstance(node, ast.Match) and "gate" in ast.unparse(node.subject)


def test_no_module_asks_which_gate_it_is():
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file not in OWN
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if asks_which_gate(node)
    ]
    assert found == []


def test_the_question_is_seen_in_every_form():
    for asked in ("c.gate == 'x'", "gate == 'input'", "'hidden' != g", "g in ('input',)",
                  "probe.gate.name == other"):  # fmt: skip
        assert asks_which_gate(ast.parse(asked, mode="eval").body), asked
    for other in ("gate == 0", "gate not in GATES", "layer == 0"):
        assert not asks_which_gate(ast.parse(other, mode="eval").body), other
