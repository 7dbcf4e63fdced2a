import pytest

from scmichigan.metrics import _inception


@pytest.fixture
def few_trees(monkeypatch):
    """Inception scores of tables with 20 trees in place of 1,000."""
    monkeypatch.setattr(_inception, "_N_TREES", 20)
