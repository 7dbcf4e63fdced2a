from functools import partial

import pytest

from scmichigan.metrics import _inception, _predictability


@pytest.fixture
def few_trees(monkeypatch):
    """Inception scores of tables with 20 trees in place of 1,000."""
    monkeypatch.setattr(_inception, "_N_TREES", 20)


@pytest.fixture
def few_rounds(monkeypatch):
    """DCI of tables with 5 rounds of boosting in place of 100."""
    monkeypatch.setattr(_predictability, "dci", partial(_predictability.dci, n_trees=5))
