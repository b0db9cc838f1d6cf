"""Real models and data that lie beside the repository; a test that needs them is skipped where they
do not."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / ".." / "shared"


def shared(*names: str) -> list[Path]:
    """The files or folders of these names in ../shared; skips the calling test if one is missing.

    names: such as "data/sst"
    """
    paths = [_SHARED / name for name in names]
    if missing := [name for name, path in zip(names, paths, strict=True) if not path.exists()]:
        pytest.skip(f"needs ../shared/{', ../shared/'.join(missing)}, beside the repository")
    return paths
