import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmichigan.metrics import (
    _tables,
    delta_entropy,
    discrimination_rank,
    disentanglement,
    generator_disentanglement,
    prediction,
    realism,
    registry,
    split_half,
    summary,
)

pytestmark = pytest.mark.usefixtures("few_trees")
FAST = {"n_trees": 5}
TARGET = {"cell_type": "b", "condition": "drug"}


@pytest.fixture
def hand():
    """Two contexts beside the target's own, one without control; a batch that the labels do not name."""
    rng = np.random.default_rng(0)
    combinations = [("a", "ctrl"), ("a", "drug"), ("b", "ctrl"), ("c", "drug"), ("a", "other")] * 60
    obs = pd.DataFrame(combinations, columns=["cell_type", "condition"]).astype("category").rename(str)
    obs["time"] = rng.random(300)
    means = pd.get_dummies(obs[["cell_type", "condition"]]).to_numpy(dtype=float)
    real = AnnData(rng.normal(means @ rng.normal(0, 2, (means.shape[1], 12)), 1), obs=obs)
    real.obsm["X_michigan"] = np.column_stack([obs["time"], real.X[:, 0]])
    generated = AnnData(real.X + rng.normal(0, 0.1, real.shape), obsm={"X_michigan": real.obsm["X_michigan"].copy()})
    predicted = AnnData(real.X[:60] + 1, uns={"michigan": {"target": TARGET}})
    return real, generated, predicted


def _predicted(provenance):
    return AnnData(np.full((9, 12), 0.5), uns={"michigan": provenance})


def _of(real, cell_type, condition):
    return real[((real.obs["cell_type"] == cell_type) & (real.obs["condition"] == condition)).to_numpy()].X


def test_all_tables_in_one(hand):
    real, generated, predicted = hand
    target = np.concatenate([_of(real, "a", "other"), _of(real, "c", "drug")]) + 2
    prediction_sides = {"hidden": target, "control_labels": {"condition": "ctrl"}}
    table = summary(real, generated, predicted, keys=["time"], labels_key="cell_type", **prediction_sides, **FAST)
    parts = {
        "disentanglement": disentanglement(real, keys=["time"]),
        "generator disentanglement": generator_disentanglement(real, generated, keys=["time"]),
        "realism": realism(real, generated, labels_key="cell_type", **FAST),
        # other contexts need both conditions
        "prediction": prediction(
            target,
            predicted,
            _of(real, "b", "ctrl"),
            contexts=[(_of(real, "a", "ctrl"), _of(real, "a", "drug"))],
            **FAST,
        ),
    }
    assert list(table.columns) == [
        "model",
        "chance",
        "no change",
        "additive",
        "additive, weighted",
        "real cells",
        "best",
    ]
    assert list(table.index.get_level_values("question").unique()) == list(parts)
    for question, part in parts.items():
        part = part.rename(columns={"X_michigan": "model", "generated": "model", "predicted": "model"})
        pd.testing.assert_frame_equal(table.loc[question][[*part.columns]], part, check_names=False)
        assert table.attrs[question] == part.attrs
    assert table.index.isin(registry().index).all()
    assert table["best"].notna().all()


def test_each_question_alone(hand):
    real, generated, predicted = hand
    assert list(summary(real, keys="time").columns) == ["model", "chance", "best"]
    real.obsm["Z"] = real.obsm["X_michigan"]
    pd.testing.assert_frame_equal(summary(real, keys="time", latent_key="Z"), summary(real, keys="time"))
    assert set(summary(real, generated, **FAST).index.get_level_values(0)) == {"realism"}
    table = summary(real, None, predicted, hidden=real.X[:100] + 2, control_labels={"condition": "ctrl"}, **FAST)
    assert set(table.index.get_level_values(0)) == {"prediction"}


def test_cells_without_labels_and_layers(hand):
    real, _, predicted = hand
    real.layers["logged"] = real.X.copy()
    target = AnnData(real.X[:100] * 0, layers={"logged": real.X[:100] + 2})
    asked = {"hidden": target, "control_labels": {"condition": "ctrl"}, "layer": "logged"}
    expected = summary(real, None, predicted, **asked, **FAST)
    real.X = real.X * 0
    pd.testing.assert_frame_equal(summary(real, None, predicted, **asked, **FAST), expected)
    more = anndata.concat([real, real[:9]], index_unique="-")
    more.obs.loc[more.obs_names[300:], "condition"] = np.nan
    more.layers["logged"][300:] = 1
    with pytest.warns(UserWarning, match="cells of real without a label .*: 9 of 309 no 'condition'"):
        table = summary(more, None, predicted, **asked, **FAST)
    pd.testing.assert_frame_equal(table, expected)


def test_the_rank_is_among_perturbations_of_the_same_context(hand):
    real, _, predicted = hand
    real.obs["cell_type"] = real.obs["cell_type"].cat.rename_categories({"a": "b", "b": "a"})
    target = real.X[:100] + 3
    real.obs["condition"] = real.obs["condition"].cat.rename_categories({"drug": "first"})
    table = summary(real, None, predicted, hidden=target, control_labels={"condition": "ctrl"}, **FAST).loc[
        "prediction"
    ]
    reference = split_half(target)[1]
    of_b = {label: _of(real, "b", label) for label in ("first", "other")}
    for column, cells in (("model", predicted.X), ("no change", _of(real, "b", "ctrl"))):
        rank = discrimination_rank({"target": reference, **of_b}, {"target": cells}).iloc[0]
        assert table.loc["discrimination rank", column] == rank
    assert table.loc["discrimination rank", "real cells"] == 1


def test_without_another_context_components_are_those_of_real(hand):
    real, _, predicted = hand
    alone = real[(real.obs["cell_type"] == "b").to_numpy()].copy()
    alone.obsm["X_michigan"] = np.ones((alone.n_obs, 2))
    table = summary(alone, None, predicted, hidden=real.X[:100] + 2, control_labels={"condition": "ctrl"}, **FAST)
    assert table.attrs["prediction"]["basis"] == "real"
    assert "additive" not in table.columns
    assert "discrimination rank" not in table.index.get_level_values("metric")


def test_a_target_that_was_not_hidden(hand):
    """By its labels, or number for number under other labels."""
    real, _, predicted = hand
    asked = {"control_labels": {"condition": "ctrl"}, **FAST}
    with pytest.warns(
        UserWarning, match="60 of 120 cells of hidden are cells of real, .* the model has seen the answer"
    ):
        summary(real, None, predicted, hidden=np.vstack([_of(real, "a", "other"), real.X[:60] + 2]), **asked)
    real.obs["cell_type"] = real.obs["cell_type"].where(real.obs["condition"] != "other", "b")
    real.obs["condition"] = real.obs["condition"].cat.rename_categories({"drug": "other", "other": "drug"})
    with pytest.warns(UserWarning, match="60 cells of real are {'cell_type': 'b', 'condition': 'drug'}, so that the"):
        summary(real, None, predicted, hidden=real.X[:100] + 2, **asked)


def test_delta_entropy_where_latents_are_stored(hand):
    """Of posterior means on both sides, whatever the predicted cells were drawn from."""
    real, _, predicted = hand
    rng = np.random.default_rng(1)
    real.obsm["X_michigan_var"] = rng.uniform(0.1, 0.2, (300, 2))
    moved = np.full((300, 2), np.nan)
    moved[:60] = real.obsm["X_michigan"][:60] + 1
    real.obsm["X_michigan_predicted"] = moved
    real.uns["X_michigan_predicted"] = {"target": dict(TARGET)}
    predicted.uns["michigan"]["latent"] = "X_michigan"
    target = AnnData(real.X[:100] + 2, obsm={"X_michigan": real.obsm["X_michigan"][100:200]})
    asked = {"hidden": target, "control_labels": {"condition": "ctrl"}, **FAST}
    row = summary(real, None, predicted, **asked).loc[("latent arithmetic", "delta entropy")]
    posterior = {"mean": real.obsm["X_michigan"], "var": real.obsm["X_michigan_var"]}
    expected = delta_entropy(real.obsm["X_michigan"][100:200], moved[:60], **posterior)
    assert row["model"] == pytest.approx(expected)
    assert expected > 0.5
    # one half of the target's cells beside the other
    assert abs(row["real cells"]) < 0.5
    assert row["best"] == 0
    bad = AnnData(target.X, obsm={"X_michigan": np.ones((100, 3))})
    with pytest.raises(
        ValueError, match=r"hidden.obsm\['X_michigan'\] has shape \(100, 3\), .* \(300, 2\): give finite"
    ):
        summary(real, None, predicted, **asked | {"hidden": bad})
    real.uns["X_michigan_predicted"] = {"target": {"cell_type": "a", "condition": "drug"}}
    assert "latent arithmetic" not in summary(real, None, predicted, **asked).index.get_level_values("question")


def test_the_progress_bar_can_be_switched_off(hand, capsys):
    real, generated, predicted = hand
    asked = {"hidden": real.X[:100] + 2, "control_labels": {"condition": "ctrl"}, "keys": "time", "n_trees": 2}
    shown = summary(real, generated, predicted, **asked)
    assert "realism" in capsys.readouterr().err
    switched_off = summary(real, generated, predicted, **asked, enable_progress_bar=False)
    assert capsys.readouterr() == ("", "")
    pd.testing.assert_frame_equal(switched_off, shown)


def test_results_are_written_to_other_keys_where_asked(hand):
    real, generated, predicted = hand
    asked = {"hidden": real.X[:100] + 2, "control_labels": {"condition": "ctrl"}, "keys": "time", **FAST}
    summary(real, generated, predicted, **asked, key_added="mine")
    assert set(real.uns) == {"mine_disentanglement"}
    assert set(generated.uns) == {"mine_generator_disentanglement", "mine_realism"}
    assert {"mine_inferred_factors", "mine_probability_real"} < set(generated.obsm)
    assert "mine_prediction" in predicted.uns


@pytest.mark.parametrize("metric", [disentanglement, generator_disentanglement, realism, prediction])
def test_progress_reaches_its_end(hand, metric, monkeypatch):
    real, generated, predicted = hand
    bars = []

    class Bar(_tables.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr(_tables, "tqdm", Bar)
    calls = {
        disentanglement: lambda: metric(real, keys="time"),
        generator_disentanglement: lambda: metric(real, generated, keys="time"),
        realism: lambda: metric(real, generated, labels_key="cell_type", **FAST),
        prediction: lambda: metric(real.X[:100] + 2, predicted, real.X[:60], basis=real, others={"a": real.X}, **FAST),
    }
    calls[metric]()
    assert [(bar.n, bar.total) for bar in bars] == [(bars[0].total,) * 2]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"predicted": None}, ValueError, "there is nothing to judge: give keys, generated cells, or predicted"),
        ({"hidden": None}, ValueError, "predicted is given without hidden or control_labels"),
        ({"control_labels": None}, ValueError, "predicted is given without hidden or control_labels"),
        ({"predicted": AnnData(np.ones((9, 12)))}, ValueError, r"predicted.uns\['michigan'\] names no target"),
        ({"predicted": np.ones((9, 12))}, ValueError, "predicted is a ndarray: give an AnnData"),
        ({"real": np.ones((9, 12))}, ValueError, "real is a ndarray: give an AnnData"),
        (
            {"control_labels": {}},
            ValueError,
            r"control_labels is {}: give one of the columns \['cell_type', 'condition'\]",
        ),
        ({"control_labels": {"batch": "1"}}, ValueError, "give one of the columns"),
        (
            {"control_labels": "ctrl"},
            ValueError,
            r"control_labels is 'ctrl': give one of the columns \['cell_type', 'condition'\] .*, as",
        ),
        ({"predicted": _predicted(5)}, ValueError, r"predicted.uns\['michigan'\] is 5 and names no target: give cells"),
        (
            {"predicted": _predicted({"target": "b"})},
            ValueError,
            r"predicted.uns\['michigan'\] has the target 'b', which is no dict of labels: give cells from",
        ),
        (
            {"predicted": _predicted({"target": {"cell_type": "z", "condition": "drug"}})},
            ValueError,
            r"no cell of real is .*: obs\['cell_type'\] has no 'z', which was predicted; give the cells that the model",
        ),
        (
            {"predicted": _predicted({"target": {"cell_type": "c", "condition": "new"}})},
            ValueError,
            r"no cell of real is {'cell_type': 'c', 'condition': 'ctrl'}: these labels are there, but not together",
        ),
        (
            {"control_labels": {"condition": "none"}},
            ValueError,
            r"no cell of real is {'cell_type': 'b', 'condition': 'none'}: give control_labels another label, as "
            r"obs\['condition'\] has \['ctrl', 'drug', 'other'\]",
        ),
        ({"control_labels": {"condition": "drug"}}, ValueError, "control_labels is the prediction's own label"),
        ({"generated": np.ones((9, 12))}, ValueError, "generated is a ndarray: give an AnnData"),
        ({"generated": AnnData(np.ones((9, 7)))}, ValueError, "generated has 7 genes, real has 12"),
        ({"layer": "logged"}, KeyError, r"real.layers\['logged'\] does not exist"),
        ({"labels_key": "type"}, KeyError, r"^\"real.obs\['type'\] does not exist; the columns are"),
        ({"hidden": np.full((30, 12), 99)}, ValueError, "hidden holds counts .*, real log-normalised values"),
        (
            {"labels_key": "type", "held_out": AnnData(np.eye(12) + 0.5)},
            KeyError,
            r"^\"held_out.obs\['type'\] does not",
        ),
        ({"keys": "sex"}, KeyError, r"real.obs\['sex'\] does not exist"),
    ],
)
def test_bad_requests(hand, arguments, error, message):
    real, _, predicted = hand
    given = {"real": real, "predicted": predicted, "hidden": real.X[:30], "control_labels": {"condition": "ctrl"}}
    with pytest.raises(error, match=message):
        summary(**given | arguments, **FAST)
    assert not real.uns


def test_labels_that_were_predicted_have_to_be_columns(hand):
    real, _, predicted = hand
    del real.obs["condition"]
    with pytest.raises(KeyError, match=r"obs\['condition'\] does not exist; the columns are \['cell_type', 'time'\]"):
        summary(real, None, predicted, hidden=real.X[:30], control_labels={"condition": "ctrl"})
