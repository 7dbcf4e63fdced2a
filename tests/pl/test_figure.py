"""What all plots do alike with their figures."""

import inspect

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from scmichigan import pl

mpl.use("agg")

HISTORY = {"critic_loss": pd.DataFrame({"critic_loss": [2.0, 1.0]})}


@pytest.mark.parametrize("name", pl.__all__)
def test_arguments_are_those_of_scanpy(name):
    arguments = inspect.signature(getattr(pl, name)).parameters
    handed_over = {"show": None, "save": None, "return_fig": False}
    assert {key: arguments[key].default for key in handed_over} == handed_over
    assert {arguments[key].kind for key in handed_over} == {inspect.Parameter.KEYWORD_ONLY}
    told = inspect.getdoc(getattr(pl, name))
    assert "ax" in arguments or "there is no ``ax``" in told or "as in :func:`real_vs_generated`" in told


@pytest.mark.parametrize(
    ("arguments", "is_shown", "is_returned"),
    [
        ({}, True, False),
        ({"show": False}, False, True),
        ({"show": True}, True, False),
        ({"return_fig": True}, False, True),
        ({"return_fig": True, "show": True}, True, True),
        ({"save": "curves.png"}, False, True),
        ({"save": "curves.png", "show": True}, True, False),
    ],
)
def test_figures_are_shown_saved_and_returned(monkeypatch, tmp_path, arguments, is_shown, is_returned):
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    fig = pl.training(HISTORY, **arguments)
    assert [len(open_) for open_ in shown] == [1] * is_shown
    assert isinstance(fig, plt.Figure) == is_returned
    assert [file.name for file in tmp_path.iterdir()] == [name for key, name in arguments.items() if key == "save"]
    assert plt.get_fignums() == []


def test_axes_of_ones_own(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("a figure of the user's was shown"))
    x = np.random.default_rng(0).random((10, 4))
    fig, (left, right) = plt.subplots(1, 2)
    assert pl.changes(x + 1, x, x, n_genes=3, ax=right) is fig
    assert len(left.get_children()) < len(right.get_children())
    assert right.get_ylabel() == "expression"
    assert fig.axes == [left, right]
    assert plt.get_fignums() == [fig.number]  # still open
    plt.close(fig)
