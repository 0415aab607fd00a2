"""Full size with ``--benchmark-enable``; otherwise each benchmark runs once, small, without a clock."""

import pytest

NOTES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def full(pytestconfig):
    """Whether to measure."""
    return pytestconfig.getoption("benchmark_enable")


@pytest.fixture
def note(request):
    """Return the function that adds a line to the summary of a measuring run."""

    def add(text):
        request.config.stash.setdefault(NOTES, []).append(f"{request.node.name}: {text}")

    return add


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("benchmark_enable") and NOTES in config.stash:
        terminalreporter.section("figures")
        for line in config.stash[NOTES]:
            terminalreporter.line(line)
