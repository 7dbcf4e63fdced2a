import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmichigan import metrics, pl
from scmichigan.pl._predictions import _BEST

mpl.use("agg")

VALUES = {
    ("E-distance", "ours"): [1.0, 2.0],
    ("E-distance", "no change"): [5.0, 3.0],
    ("E-distance", "real cells"): [0.5, 0.25],
    ("correlation", "ours"): [0.9, 0.5],
    ("correlation", "no change"): [np.nan, np.nan],
    ("correlation", "real cells"): [1.0, 0.75],
}


@pytest.fixture
def table():
    rows = [
        {"cell_type": cell_type, "condition": "stim", "predictor": predictor, "metric": metric, "value": values[i]}
        for i, cell_type in enumerate(["B", "A"])
        for (metric, predictor), values in VALUES.items()
    ]
    return pd.DataFrame(rows)


def _texts(ax):
    return {tuple(text.get_position()): text.get_text() for text in ax.texts}


def test_scores_are_numbers_in_rows_of_combinations_and_columns_of_predictors(table):
    fig = pl.prediction_scores(table, metrics=["E-distance", "correlation"], show=False)
    distance, correlation = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["E-distance\n(0 is best)", "correlation\n(1 is best)"]
    assert fig.get_supxlabel() == "white: at least as good as real cells, dark: the worst of the row"
    assert [label.get_text() for label in distance.get_yticklabels()] == ["mean", "B, stim", "A, stim"]
    assert [label.get_text() for label in distance.get_xticklabels()] == ["ours", "no change", "real cells"]
    rows = [["1.50", "4.00", "0.38"], ["1.00", "5.00", "0.50"], ["2.00", "3.00", "0.25"]]
    assert _texts(distance) == {(c, r): text for r, row in enumerate(rows) for c, text in enumerate(row)}
    assert set(_texts(correlation)) == {(c, r) for r in range(3) for c in (0, 2)}


def test_colours_are_shares_of_the_worst_beside_real_cells(table):
    table.loc[(table["predictor"] == "ours") & (table["cell_type"] == "A"), "value"] = [0.1, 0.5]
    fig = pl.prediction_scores(table, metrics=["E-distance", "correlation"], show=False)
    shares = [ax.images[0].get_array() for ax in fig.axes]
    np.testing.assert_allclose(shares[0][1], [0.5 / 4.5, 1, 0])
    np.testing.assert_allclose(shares[0][2], [0, 1, 0])  # better than real cells
    np.testing.assert_allclose(shares[1][2].compressed(), [1, 0])
    assert shares[1].mask[:, 1].all()


def test_digits_are_white_on_dark_cells(table):
    (ax,) = pl.prediction_scores(table, metrics=["E-distance"], show=False).axes
    colours = {tuple(text.get_position()): text.get_color() for text in ax.texts}
    assert [colours[column, 1] for column in range(3)] == ["black", "white", "black"]  # shares 1/9, 1 and 0


def test_without_real_cells_colours_are_distances_from_the_best(table):
    table = table[table["predictor"] != "real cells"].replace({"correlation": "slope of change"})
    table.loc[(table["metric"] == "slope of change") & (table["predictor"] == "no change"), "value"] = 1.2
    _, slope = (fig := pl.prediction_scores(table, metrics=["E-distance", "slope of change"], show=False)).axes
    np.testing.assert_allclose(slope.images[0].get_array()[1:], [[0.1 / 0.2, 1], [1, 0.2 / 0.5]])
    assert fig.get_supxlabel().startswith("white: the best possible")


def test_best_values_are_those_of_the_metrics():
    best = metrics.registry().loc["prediction", "best"]
    assert set(_BEST) <= set(best.index)
    assert {metric: _BEST.get(metric, 1) for metric in best.index} == best.to_dict()


def test_seeds_are_averaged(table):
    two = pd.concat([table.assign(seed=0), table.assign(seed=1, value=table["value"] + 1)])
    fig = pl.prediction_scores(two, metrics=["E-distance"], show=False)
    assert _texts(fig.axes[0])[0, 1] == "1.50"


def test_tables_of_something_else_are_refused(table):
    with pytest.raises(KeyError, match="table has no columns .*'value'.*give the table of benchmark_predictions"):
        pl.prediction_scores(table.drop(columns="value"), show=False)
    with pytest.raises(ValueError, match="table has no metric 'MMD': choose from .*'E-distance'"):
        pl.prediction_scores(table, metrics=["MMD"], show=False)


def test_boxes_are_of_the_most_changed_genes():
    rng = np.random.default_rng(0)
    control, shift = rng.random((40, 6)), np.array([0, 3.0, -1, 0, 2, 0])
    real, predicted = rng.random((30, 6)) + shift, rng.random((20, 6)) + shift / 2
    fig = pl.changes(real, predicted, AnnData(control), n_genes=3, show=False)
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4", "2"]
    means = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o"]
    expected = [side.mean(0)[[1, 4, 2]] for side in (control, real, predicted)]
    np.testing.assert_allclose(means, np.concatenate(expected))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["control", "real", "predicted"]


def test_changes_of_more_genes_than_there_are_and_of_none():
    x = np.random.default_rng(0).random((10, 4))
    assert len(pl.changes(x + 1, x, x, n_genes=9, show=False).axes[0].get_xticklabels()) == 4
    with pytest.raises(ValueError, match="n_genes is 0: give 1 or more"):
        pl.changes(x, x, x, n_genes=0, show=False)
