"""What results depend on besides settings: versions, the commit of the source, the machine."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from diffmask_jax.runtime.messages import visible

PACKAGES = (
    "diffmask_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "transformers",
)


def environment() -> dict[str, Any]:
    """Command, versions (None if unknown), commit of the source (likewise) and devices."""
    return {
        "command": [visible(word) for word in sys.argv],
        "commit": _commit(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "cpus": os.cpu_count(),
    }


def _commit(source: Path) -> str | None:
    """The commit of a folder, if it is a repository itself and not merely inside of one."""
    git = ["git", "-C", str(source)]
    try:
        (root, commit) = (
            subprocess.run([*git, *what], capture_output=True, text=True, check=True).stdout.strip()
            for what in (
                ("rev-parse", "--show-toplevel"),
                ("describe", "--always", "--dirty", "--exclude=*"),
            )
        )
    except (OSError, subprocess.CalledProcessError):  # installed from a wheel, or no git
        return None
    return commit if Path(root).resolve() == source.resolve() else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # found by PYTHONPATH
        return None
