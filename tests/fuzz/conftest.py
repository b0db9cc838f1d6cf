"""The table of what became of all damaged files, told at the end."""

from trying import OUTCOMES, table


def pytest_terminal_summary(terminalreporter):
    """Not where several processes try them, who each have a part."""
    for line in table() if OUTCOMES else ():
        terminalreporter.write_line(line)
