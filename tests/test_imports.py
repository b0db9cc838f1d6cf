"""Imports only go downwards through the rooms, and no more is imported than is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import diffmask_jax

PACKAGE = Path(diffmask_jax.__file__).parent

# From the bottom up. A room, that is a module or a folder, may import the rooms of the floors
# below it and what lies in itself; rooms on one floor do not know of one another.
FLOORS = [
    {"errors"},
    {"game", "runtime"},
    {"attribution", "data", "render"},
    {"models"},
    {"tasks"},
    {"analysis"},
    {"training"},
    {"explaining"},
    {"commands"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """diffmask_jax.data.batches -> data"""
    return module.split(".")[1]


def imports_of(module: str) -> set[str]:
    """Every module that one names, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
    return found


# The package's own door: `from diffmask_jax import Explainer, __version__`.
ROOMS = {
    module: {other for other in imports_of(module) if other in MODULES and "." in other}
    for module in MODULES
    if module != "diffmask_jax"
}


def test_every_room_has_its_floor():
    folders = {room_of(module) for module in ROOMS}
    assert folders == set(FLOOR)


@pytest.mark.parametrize("module", ROOMS)
def test_imports_go_down(module):
    room = room_of(module)
    for other in map(room_of, ROOMS[module]):
        assert other == room or FLOOR[other] < FLOOR[room], f"{room} must not import {other}"


def test_the_game_knows_of_nothing_else():
    for module, others in ROOMS.items():
        if room_of(module) == "game":
            assert {room_of(other) for other in others} <= {"game"}, module


def test_attribution_has_never_heard_of_a_model():
    for module, others in ROOMS.items():
        if room_of(module) == "attribution":
            assert {room_of(other) for other in others} <= {"attribution", "game", "errors"}


def test_no_module_imports_itself_through_others():
    waiting = dict(ROOMS)
    while waiting:
        ready = {module for module, others in waiting.items() if not others & set(waiting)}
        assert ready, f"a cycle among {', '.join(waiting)}"
        waiting = {module: others for module, others in waiting.items() if module not in ready}


def test_the_package_never_imports_experiments_or_tests():
    for module in MODULES:
        roots = {name.split(".")[0] for name in imports_of(module)}
        assert not roots & {"experiments", "tests"}, module


HEAVY = ["jax", "torch", "transformers", "tensorflow_datasets", "matplotlib", "orbax", "flax"]


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import diffmask_jax; dir(diffmask_jax)", set()),
        ("import diffmask_jax.cli", set()),
        ("import diffmask_jax.training.config, diffmask_jax.tasks.tasks", set()),
        ("from diffmask_jax import run_config", set()),
        (
            "from diffmask_jax import Explainer; import diffmask_jax.explaining.evaluation",
            {"jax", "flax"},
        ),
    ],
)
def test_importing_is_quick(statement, allowed):
    """In a fresh interpreter; what is heavy is imported where it is used."""
    code = f"import sys\n{statement}\nprint(*[n for n in {HEAVY} if n in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert set(found.stdout.split()) <= allowed and found.stderr == ""


def test_help_is_quick():
    """Told before anything heavy is imported, of every command."""
    commands = ["train", "explain", "evaluate", "report", "compare", "finetune", "tour"]
    code = (
        f"import sys\nfrom diffmask_jax.cli import main\nfor command in {commands}:\n"
        "    try:\n        main([command, '--help'])\n"
        "    except SystemExit as end:\n        assert end.code == 0\n"
        f"print('imported', *[n for n in {HEAVY} if n in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    for command in commands:
        assert f"usage: diffmask {command} " in found.stdout
    assert found.stdout.splitlines()[-1] == "imported"


def test_the_package_s_door():
    for name in ("Explainer", "Explanation", "fit_probe", "run_config", "train"):
        thing = getattr(diffmask_jax, name)
        assert thing is getattr(sys.modules[thing.__module__], name)
        assert thing.__module__.startswith("diffmask_jax.")
    expected = {"Explainer", "Explanation", "__version__", "fit_probe", "run_config", "train"}
    assert set(diffmask_jax.__all__) == expected
    assert set(diffmask_jax.__all__) <= set(dir(diffmask_jax))
    with pytest.raises(AttributeError, match="no attribute 'Explaner'"):
        _ = diffmask_jax.Explaner
