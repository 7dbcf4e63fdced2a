import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

DOSES = (0.0, 1.0, 4.0)
KEYS = ["cell_type", "dose"]


@pytest.fixture
def dosed():
    """Expression that is linear in dose, with a slope that all cell types share; C was seen without the drug only."""
    rng = np.random.default_rng(0)
    types, doses = np.repeat(["A", "B", "C"], 120), np.tile(np.repeat(DOSES, 40), 3)
    keep = (types != "C") | (doses == 0)
    types, doses = types[keep], doses[keep]
    place = {label: 5 + rng.normal(scale=0.8, size=30) for label in "ABC"}
    slope = rng.normal(scale=0.2, size=30)
    x = np.stack([place[t] for t in types]) + doses[:, None] * slope + rng.normal(scale=0.3, size=(len(doses), 30))
    obs = pd.DataFrame({"cell_type": types, "dose": doses}, index=[f"cell_{i}" for i in range(len(doses))])
    adata = AnnData(x.astype(np.float32), obs=obs, obsm={"Z": np.column_stack([types == "A", types == "B", doses])})
    adata.obsm["Z"] = adata.obsm["Z"].astype(np.float32)
    return adata, lambda cell_type, dose: place[cell_type] + dose * slope


@pytest.fixture
def model(dosed, make_gan):
    return make_gan(dosed[0], latent_key="Z", fit={"max_epochs": 0})


@pytest.mark.parametrize("method", ["kriging", "additive"])
@pytest.mark.parametrize("dose", [0.25, 2.5, 3])
def test_a_dose_between_two_that_were_seen(dosed, model, dose, method):
    adata, truth = dosed
    cells = model.predict_combination({"cell_type": "B", "dose": dose}, method=method)
    low, high = (0.0, 1.0) if dose < 1 else (1.0, 4.0)
    means = {d: adata.X[((adata.obs["cell_type"] == "B") & (adata.obs["dose"] == d)).to_numpy()].mean(0) for d in DOSES}
    share = (dose - low) / (high - low)
    np.testing.assert_allclose(cells.X.mean(0), (1 - share) * means[low] + share * means[high], atol=1e-4)
    # Means of 40 cells or more, with a standard deviation of 0.3: five standard errors.
    assert np.abs(cells.X.mean(0) - truth("B", dose)).max() < 5 * 0.3 / np.sqrt(40)
    np.testing.assert_allclose(cells.obsm["X_michigan"], [[0, 1, dose]] * len(cells), atol=1e-5)
    assert set(cells.obs["michigan_reference"]) == {str(low), str(high)}
    assert (cells.obs["dose"] == dose).all()
    assert cells.uns["michigan"]["along"] == "dose"
    few = model.predict_combination({"cell_type": "B", "dose": dose}, n_samples=20)
    assert (few.obs["michigan_reference"] == str(high)).sum() == pytest.approx(20 * share, abs=1)


@pytest.mark.parametrize("method", ["kriging", "additive"])
def test_a_dose_between_two_that_have_to_be_predicted_themselves(dosed, model, method):
    _, truth = dosed
    cells = model.predict_combination({"cell_type": "C", "dose": 2.5}, method=method)
    # C without the drug, plus half of the changes to doses 1 and 4 in A and B: errors of the means of 40 cells add up.
    assert np.abs(cells.X.mean(0) - truth("C", 2.5)).max() < 5 * 0.3 * np.sqrt((1 + 0.5 + 0.5) / 40)
    # A variance that is estimated from three types takes the noise in proportion off the effect.
    np.testing.assert_allclose(cells.obsm["X_michigan"], [[0, 0, 2.5]] * len(cells), atol=0.1)
    assert set(cells.obs["michigan_reference"]) == {"0.0"}


def test_a_dose_that_was_seen_is_a_label_as_any(dosed, model):
    _, truth = dosed
    cells = model.predict_combination({"cell_type": "C", "dose": 4})
    assert np.abs(cells.X.mean(0) - truth("C", 4)).max() < 5 * 0.3 * np.sqrt((1 + 0.5 + 0.5) / 40)
    table = model.missing_combinations(KEYS, enable_progress_bar=False)
    assert set(table[KEYS].itertuples(index=False, name=None)) == {("C", 1.0), ("C", 4.0)}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"labels": {"cell_type": "B", "dose": 8}}, r"obs\['dose'\] == 8; the levels are 0.0, 1.0, 4.0"),
        (
            {"labels": {"cell_type": "B", "dose": -1}},
            "the levels are 0.0, 1.0, 4.0 and, for a prediction, numbers between",
        ),
        ({"labels": {"cell_type": "B", "dose": "2"}}, r"no cell has obs\['dose'\] == '2'"),
        ({"labels": {"cell_type": "B", "dose": 2}, "along": "cell_type"}, "no cell has the target's number of 'dose'"),
        ({"labels": {"cell_type": "B", "dose": 2}, "references": [1.0]}, "next to the target's number of 'dose'"),
    ],
)
def test_doses_that_cannot_be_had(model, request_, message):
    with pytest.raises(ValueError, match=message):
        model.predict_combination(**request_)


def test_two_numbers_that_were_not_seen(dosed, make_gan):
    adata, _ = dosed
    adata.obs["hours"] = np.tile([2.0, 6.0], adata.n_obs)[: adata.n_obs]
    model = make_gan(adata, latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises(
        ValueError, match=r"no cell has obs\['hours'\] == 4, nor 2 of 'dose'; one number at a time can lie between"
    ):
        model.predict_combination({"cell_type": "B", "dose": 2, "hours": 4})
    cells = model.predict_combination({"cell_type": "B", "dose": 2, "hours": 6})
    assert np.isfinite(cells.X).all()
