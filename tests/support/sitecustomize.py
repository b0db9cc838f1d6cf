"""Python reads this first in every process that a test starts: none of them computes with PyTorch,
which tensorboardX would import for nothing."""

import sys

sys.modules["torch"] = None  # type: ignore[assignment]
