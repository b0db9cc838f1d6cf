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
    """Command, versions, commit of the source (None if unknown) and devices."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(
            [*git, "--exclude=*"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # installed from a wheel, or no git
        commit = None
    return {
        "command": [visible(word) for word in sys.argv],
        "commit": commit,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "cpus": os.cpu_count(),
    }
