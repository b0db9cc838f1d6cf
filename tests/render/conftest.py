"""One browser for all tests of what pages look like."""

import pytest

from experiments.common.browser import CHROMIUM, browser


@pytest.fixture(scope="package")
def eye():
    """Debian's Chromium, without a window and without a network."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with browser() as opened:
        yield opened
