"""What is installed: all of it is pinned, the wheel is whole, every extra that is named exists."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = SETUP["options.extras_require"]
ACCELERATORS = {"cuda", "tpu"}  # jax's own extras


def names_of(requirements: str) -> set[str]:
    """`A_b[c]>=1  # d` in lines -> a-b."""
    found = re.findall(r"^([A-Za-z][\w.-]*)", requirements, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


PINNED = names_of((ROOT / "requirements.txt").read_text(encoding="utf-8"))
PINNED_TESTS = names_of((ROOT / "requirements-test.txt").read_text(encoding="utf-8"))


def test_requirements_pin_what_the_package_and_all_its_commands_need():
    assert names_of(EXTRAS["all"]) == {"diffmask-jax"}  # others of our extras
    (ours,) = re.findall(r"\[(.*)\]", EXTRAS["all"])
    needed = [SETUP["options"]["install_requires"], *(EXTRAS[name] for name in ours.split(","))]
    assert set().union(*map(names_of, needed)) <= PINNED
    assert names_of(EXTRAS["viz"]) <= names_of(EXTRAS["train"])  # which `all` has
    asked = {"jax", "flax", "optax", "transformers", "tensorflow-datasets", "orbax-checkpoint"}
    assert asked <= PINNED
    for name in ("test", "docs", "torch"):
        assert names_of(EXTRAS[name]) <= PINNED_TESTS


def test_every_extra_that_is_named_is_there():
    """In code, where what is missing is told, and in the documents."""
    sources = [*(ROOT / "diffmask_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    texts = [file.read_text(encoding="utf-8") for file in sources]
    named = {name for text in texts for name in re.findall(r'extra="(\w+)"', text)}
    assert {"sst", "train", "viz", "parquet", "pos", "torch"} <= named
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for text in [*texts, *(file.read_text(encoding="utf-8") for file in documents)]:
        for listed in re.findall(r"pip install (?:-e )?'(?:\.|diffmask_jax)\[([\w,]+)\]", text):
            named |= set(listed.split(","))
    assert named <= set(EXTRAS)
    assert set(EXTRAS) >= ACCELERATORS


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    pytest.importorskip("setuptools", reason="building a wheel needs setuptools")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "diffmask_jax", tmp_path / "diffmask_jax", ignore=ignored)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in file.namelist() if name.endswith("/METADATA"))
        told = file.read(metadata).decode()
    package = (tmp_path / "diffmask_jax").rglob("*")
    assert held == {str(path.relative_to(tmp_path)) for path in package if path.is_file()}
    assert {"diffmask_jax/py.typed", "diffmask_jax/render/page.js"} <= held
    assert "Provides-Extra: sst" in told and "\n# diffmask_jax" in told
