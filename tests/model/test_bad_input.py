from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from lightning.pytorch.callbacks import EarlyStopping

from scmichigan import GMM, PPCA, BetaTCVAE, MichiGAN
from scmichigan.combinations import METHODS

MODELS = [BetaTCVAE, MichiGAN]
ALL_MODELS = [*MODELS, PPCA, GMM]
COLUMNS = r"the columns are \['cell_type', 'condition'"


def _dense(x):
    return x.toarray() if sp.issparse(x) else x


@pytest.mark.parametrize("model", ALL_MODELS)
@pytest.mark.parametrize("layer", [None, "raw"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "contains nan; remove or impute"),
        (np.inf, "contains inf; remove or impute"),
        (-2, "contains -2; expression must not be negative: give raw counts or log-normalised"),
        ("empty", "1 cells have no counts in .*, the first is 'cell_3'; remove them, for example with .*filter_cells"),
        ("scaled", r"neither counts .* nor log-normalised \(its largest value is .*; give raw counts, or .*log1p"),
    ],
)
def test_expression(counts, assert_unchanged, model, layer, form, value, message):
    x = _dense(counts.X)
    if value == "scaled":
        x = x / x.sum(axis=1, keepdims=True) * 1e4
    elif value == "empty":
        x[3] = 0
    else:
        x[3, 5] = value
    if layer is None:
        counts.X = form(x)
    else:
        counts.layers[layer] = form(x)
    before = counts.copy()
    place = r"adata\.X" if layer is None else r"adata\.layers\['raw'\]"
    with pytest.raises(ValueError, match=message) as raised:
        model.setup_anndata(counts, layer=layer)
    assert place.replace("\\", "") in str(raised.value)
    assert_unchanged(counts, before)


@pytest.mark.parametrize("model", ALL_MODELS)
@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda a: a[:0].copy(), "adata has 0 cells and 40 genes; both must be at least 1"),
        (lambda a: a[:, :0].copy(), "adata has 240 cells and 0 genes; both must be at least 1"),
        (lambda a: a[:100], r"run `adata = adata.copy\(\)`"),  # scvi-tools' own
        (lambda a: anndata.AnnData(obs=a.obs, var=a.var), "adata.X is None; pass layer="),
    ],
    ids=["no cells", "no genes", "a view", "no X"],
)
def test_adata(counts, model, take, message):
    with pytest.raises(ValueError, match=message):
        model.setup_anndata(take(counts))


@pytest.mark.parametrize("model", ALL_MODELS)
def test_backed(counts, tmp_path, model):
    counts.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"adata is backed by a file; load it with adata.to_memory\(\)"):
        model.setup_anndata(backed)
    backed.file.close()


@pytest.mark.parametrize("model", ALL_MODELS)
def test_other_expression_than_declared(counts, model):
    cure = "pass expression='{}' to setup_anndata, or the layer that holds {}"
    message = "adata.X holds raw counts, but log-normalised values were declared; "
    with pytest.raises(ValueError, match=message + cure.format("counts", "log-normalised values")):
        model.setup_anndata(counts, expression="log_normalized")
    counts.layers["logged"] = np.log1p(counts.X.toarray()).astype(np.float32)
    message = r"adata.layers\['logged'\] holds log-normalised values, but raw counts were declared; "
    with pytest.raises(ValueError, match=message + cure.format("log_normalized", "raw counts")):
        model.setup_anndata(counts, layer="logged", expression="counts")


def _set_obs(key, values):
    def change(adata):
        adata.obs[key] = values(adata)

    return change


def _with(column, value, row=3):
    """The column, with another value for one cell."""

    def values(adata):
        changed = adata.obs[column].astype(object).to_numpy().copy()
        changed[row] = value
        return changed

    return values


NOTHING = lambda adata: None
BAD_SETUP = [
    (
        "missing layer",
        NOTHING,
        {"layer": "raw"},
        KeyError,
        r"adata.layers\['raw'\] does not exist; the layers are \[\]",
    ),
    *(
        (f"missing {key}", NOTHING, {key: value}, KeyError, rf"obs\['nope'\] does not exist; {COLUMNS}")
        for key, value in {
            "batch_key": "nope",
            "labels_key": "nope",
            "size_factor_key": "nope",
            "categorical_covariate_keys": ["batch", "nope"],
            "continuous_covariate_keys": ["nope"],
        }.items()
    ),
    *(
        (
            f"unlabelled {key}",
            _set_obs("b", _with("batch", np.nan)),
            {key: value},
            ValueError,
            r"obs\['b'\] is missing for 1 cells, the first is 'cell_3'; remove these cells or give them a label",
        )
        for key, value in {"batch_key": "b", "labels_key": "b", "categorical_covariate_keys": ["b"]}.items()
    ),
    *(
        (
            f"size factor {value}",
            _set_obs("total", _with("total_counts", value)),
            {"size_factor_key": "total"},
            ValueError,
            rf"obs\['total'\] is {value} for cell 'cell_3'; size factors must be positive numbers: give",
        )
        for value in (np.nan, np.inf, 0, -5, "many")
    ),
    (
        "relative size factors",
        _set_obs("total", lambda adata: adata.obs["total_counts"] / adata.obs["total_counts"].mean()),
        {"size_factor_key": "total"},
        ValueError,
        r"obs\['total'\] has median 0.9\d*, less than half of the counts of the cells .* multiply it by the mean total",
    ),
    *(
        (
            f"continuous covariate {value}",
            _set_obs("age", _with("pseudotime", value)),
            {"continuous_covariate_keys": ["age"]},
            ValueError,
            rf"obs\['age'\] is {value} for cell 'cell_3'; continuous covariates must be finite numbers: impute it",
        )
        for value in (np.nan, np.inf, "old")
    ),
    (
        "unknown kind",
        NOTHING,
        {"expression": "raw"},
        ValueError,
        r"expression is 'raw'; choose from \['auto', 'counts'",
    ),
    *(
        (f"target_sum {v}", NOTHING, {"target_sum": v}, ValueError, f"target_sum is {v}; it must be a positive number")
        for v in (0.0, -1.0, np.nan, np.inf)
    ),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("change", "setup", "error", "message"), [pytest.param(*row[1:], id=row[0]) for row in BAD_SETUP]
)
def test_setup(counts, assert_unchanged, model, change, setup, error, message):
    change(counts)
    before = counts.copy()
    with pytest.raises(error, match=message):
        model.setup_anndata(counts, **setup)
    assert_unchanged(counts, before)


def test_size_factor_of_log_normalised_values_must_exist_too(logged):
    with pytest.raises(KeyError, match=r"obs\['nope'\] does not exist"):
        MichiGAN.setup_anndata(logged, size_factor_key="nope")


def _set_obsm(key, values):
    def change(adata):
        adata.obsm[key] = values(adata)

    return change


def _z(adata, row=3, value=np.nan):
    z = adata.obsm["Z"].copy()
    z[row, 1] = value
    return z


LATENT, BOTH = {"latent_key": "Z"}, {"latent_key": "Z", "latent_var_key": "V"}
BAD_LATENT = [
    ("missing", NOTHING, {"latent_key": "X"}, KeyError, r"obsm\['X'\] does not exist; .* choose one of \['V', 'Z'\]"),
    (
        "missing variance",
        NOTHING,
        {"latent_key": "Z", "latent_var_key": "X"},
        KeyError,
        r"obsm\['X'\] does not exist; .* choose one of \['V', 'Z'\]",
    ),
    (
        "variance alone",
        NOTHING,
        {"latent_var_key": "V"},
        ValueError,
        "latent_var_key is 'V' without latent_key; give latent_key=",
    ),
    ("NaN", _set_obsm("Z", _z), LATENT, ValueError, r"obsm\['Z'\] is (nan|inf) for cell 'cell_3'; compute .* again"),
    (
        "infinite",
        _set_obsm("Z", lambda a: pd.DataFrame(_z(a, 7, np.inf), index=a.obs_names, columns=["a", "b", "c"])),
        LATENT,
        ValueError,
        r"obsm\['Z'\] is (nan|inf) for cell 'cell_7'; compute the latent again",
    ),
    *(
        (
            f"constant {value}",
            _set_obsm("Z", lambda a, value=value: np.full((a.n_obs, 3), value, np.float32)),
            LATENT,
            ValueError,
            r"obsm\['Z'\] is the same for all cells; a constant latent can condition nothing",
        )
        # the standard deviation of the second one is 1e-4 in single precision
        for value in (0, 1234.567)
    ),
    *(
        (
            f"shape {shape}",
            _set_obsm("Z", lambda a, shape=shape: np.ones((a.n_obs, *shape))),
            LATENT,
            ValueError,
            r"obsm\['Z'\] has shape \(240, .*\); a latent has one row a cell and at least one column",
        )
        for shape in ((0,), (2, 2))
    ),
    (
        "sparse",
        _set_obsm("Z", lambda a: sp.csr_matrix(a.obsm["Z"])),
        LATENT,
        ValueError,
        r"obsm\['Z'\] is sparse; store it as an array, with .toarray\(\)",
    ),
    (
        "negative variance",
        _set_obsm("V", lambda a: -a.obsm["V"]),
        BOTH,
        ValueError,
        r"obsm\['V'\] contains -0\.\d+; variances must not be negative",
    ),
    (
        "NaN variance",
        _set_obsm("V", _z),
        BOTH,
        ValueError,
        r"obsm\['V'\] is (nan|inf) for cell 'cell_3'",
    ),
    (
        "width of variance",
        _set_obsm("V", lambda a: a.obsm["V"][:, :2]),
        BOTH,
        ValueError,
        r"obsm\['V'\] has shape \(240, 2\), obsm\['Z'\] has \(240, 3\); give one variance for each mean",
    ),
]


@pytest.mark.parametrize(
    ("change", "setup", "error", "message"), [pytest.param(*row[1:], id=row[0]) for row in BAD_LATENT]
)
def test_latent(stored, assert_unchanged, change, setup, error, message):
    change(stored)
    before = stored.copy()
    with pytest.raises(error, match=message):
        MichiGAN.setup_anndata(stored, **setup)
    assert_unchanged(stored, before)


@pytest.mark.parametrize("as_frame", [False, True])
def test_latent_of_other_cells_is_refused_by_anndata(stored, as_frame):
    z = stored.obsm["Z"][:-1]
    with pytest.raises(ValueError, match="incorrect shape|does not match parent"):
        stored.obsm["Z"] = pd.DataFrame(z, index=stored.obs_names[:-1]) if as_frame else z


def test_latent_that_lost_rows_after_it_was_stored(stored):
    # AnnData checks again when a value is read.
    z = stored.obsm["Z"].copy()
    stored.obsm["Z"] = z
    z.resize((238, 3), refcheck=False)
    with pytest.raises(ValueError, match="238"):
        MichiGAN.setup_anndata(stored, latent_key="Z")


def test_latent_that_spoils_after_setup_is_found_when_it_is_used(stored, small):
    MichiGAN.setup_anndata(stored, latent_key="Z")
    model = MichiGAN(stored, **small.gan)
    other = stored.copy()
    other.obsm["Z"] = _z(stored)
    with pytest.raises(ValueError, match=r"obsm\['Z'\] is (nan|inf) for cell 'cell_3'"):
        model.get_latent_representation(other)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"n_latent": 0}, "n_latent is 0; a latent needs at least 1 dimension"),
        *(({"beta": beta}, f"beta is {beta}; the weight .* must be 0 .* or more") for beta in (-1.0, np.nan, np.inf)),
    ],
)
def test_constructor(counts, model, init, message):
    model.setup_anndata(counts)
    with pytest.raises(ValueError, match=message):
        model(counts, **init)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"latent_sampling": "median"}, "latent_sampling is 'median'; choose 'sample' or 'mean'"),
        ({"output_activation": "tanh"}, "output_activation is 'tanh'; choose 'relu' or 'softplus' or None"),
        ({"preset": "published"}, "preset is 'published'; choose 'default' or 'paper'"),
        ({"observation": "counts"}, "observation is 'counts'; choose 'poisson' or 'log_normalized'"),
        ({"loss": "hinge"}, "loss is 'hinge'; choose 'relativistic' or 'wgan-gp'"),
        ({"critic_norm": "group"}, "critic_norm is 'group'; choose 'batch' or 'layer' or None"),
        (
            {"n_hidden": 3, "beta_": 2},
            "does not know n_hidden, beta_; its arguments are n_latent, .*observation, loss, .*n_noise",
        ),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ({"average_decay": 1.5}, "average_decay is 1.5; it must be at least 0 and below 1, or None"),
        ({"thinning": 0.0}, "thinning is 0.0; it must be above 0 and at most 1"),
        ({"penalty_weight": -1.0}, "penalty_weight is -1.0; it must be finite and at least 0"),
        ({"penalty_weight": float("nan")}, "penalty_weight is nan"),
        ({"n_noise": -1}, "n_noise is -1; it must be a whole number, at least 0"),
        ({"n_input": 3}, "does not know n_input; its arguments are"),
        (
            {"gene_likelihood": "nb"},
            r"train a BetaTCVAE\(adata, gene_likelihood='nb'\) and give it to MichiGAN.from_latent_mo",
        ),
        ({"observation": "log_normalized", "n_centres": 5}, "n_centres is 5, but .* leave n_centres out"),
        (
            {"preset": "paper", "thinning": 0.5},
            "thinning is 0.5, but has no effect where observation is 'log_normalized'",
        ),
        (
            {"output_activation": "softplus"},
            "output_activation is 'softplus', but has no effect where observation is 'poisson'",
        ),
    ],
)
def test_constructor_of_the_gan(counts, init, message):
    MichiGAN.setup_anndata(counts)
    with pytest.raises(ValueError, match=message):
        MichiGAN(counts, **init)


def test_counts_from_log_normalised_expression(logged):
    MichiGAN.setup_anndata(logged)
    with pytest.raises(ValueError, match="observation is 'poisson', but log-normalised expression is registered; "):
        MichiGAN(logged, observation="poisson")


BAD_SIZES = [
    (0.0, "minimum 0; give one positive total, or one for each of the 5 cells"),
    (-1.0, "minimum -1; give one positive total"),
    (np.nan, "minimum nan; give one positive total"),
    (np.ones(4), r"size_factor has shape \(4,\)"),
    (np.ones((5, 1)), r"size_factor has shape \(5, 1\)"),
]


@pytest.mark.parametrize(("size_factor", "message"), BAD_SIZES)
def test_size_factors_of_cells_to_generate(stored, make_gan, size_factor, message):
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises(ValueError, match=message):
        model.generate(5, size_factor=size_factor)


def test_size_factors_of_a_model_that_makes_no_counts(stored, make_gan):
    model = make_gan(stored, latent_key="Z", init={"observation": "log_normalized"}, fit={"max_epochs": 0})
    with pytest.raises(ValueError, match="size_factor is for models that make counts"):
        model.generate(5, size_factor=1000.0)


BAD_TRAIN = [
    ({"batch_size": 500}, "batch_size is 500 and there are 2.. training cells; .* for example batch_size="),
    ({"batch_size": 1}, "batch_size is 1 and there are 2.. training cells; a minibatch needs at least 2"),
    ({"max_epochs": -1}, "max_epochs is -1; give a whole number"),
]


@pytest.mark.parametrize(("fit", "message"), BAD_TRAIN)
def test_training(counts, make_vae, make_gan, assert_unchanged, fit, message):
    before = counts.copy()
    for make in (make_vae, make_gan):
        with pytest.raises(ValueError, match=message):
            make(counts, fit=fit)
    assert_unchanged(counts, before)


def test_no_epochs_where_there_is_no_closed_form(counts, make_vae, make_gan):
    message = "max_epochs is 0; give a whole number, 1 or more"
    with pytest.raises(ValueError, match=message):
        make_vae(counts, fit={"max_epochs": 0})
    for init in ({"preset": "paper"}, {"closed_form_start": False}):
        with pytest.raises(ValueError, match=message):
            make_gan(counts, fit={"max_epochs": 0}, init=init)


@pytest.mark.parametrize("train_size", [0.0, 1.5])
def test_train_size(counts, make_vae, train_size):
    with pytest.raises(ValueError, match=f"train_size is {train_size}; it must be above 0 and at most 1"):
        make_vae(counts, fit={"train_size": train_size})


def test_untrained(stored, make_vae, make_gan):
    vae, gan = make_vae(stored, train=False), make_gan(stored, latent_key="Z", train=False)
    with pytest.raises(RuntimeError, match=r"this BetaTCVAE is untrained; call train\(\) first"):
        vae.generate(3)
    with pytest.raises(RuntimeError, match=r"this MichiGAN is untrained; call train\(\) first"):
        gan.generate(3)
    with pytest.raises(RuntimeError, match=r"this MichiGAN is untrained; call train\(\) first"):
        gan.predict_combination({"cell_type": "type A", "condition": "drug 1"})
    fits_its_own = make_gan(stored, train=False)
    with pytest.raises(RuntimeError, match=r"the beta-TCVAE .* is not trained yet; call train\(\) first"):
        fits_its_own.get_latent_representation()


BAD_CELLS = [
    ({"n_samples": 0}, ValueError, "n_samples is 0; ask for at least 1 cell"),
    ({"n_samples": "10"}, ValueError, "n_samples is '10'; give a whole number of cells"),
    (
        {"labels": {"cell_type": "type Z"}},
        ValueError,
        r"no cell has obs\['cell_type'\] == 'type Z'; the levels are \['type A', 'type B', 'type C'\]",
    ),
    ({"labels": {"nope": "type A"}}, KeyError, rf"obs\['nope'\] does not exist; {COLUMNS}"),
    (
        {"labels": {"cell_type": "type B", "condition": "drug 1"}},
        ValueError,
        r"no cell has the labels \{'cell_type': 'type B', 'condition': 'drug 1'\}; loosen labels=",
    ),
]
TARGET = {"cell_type": "type B", "condition": "drug 1"}
BAD_LATENTS = [
    ({"latent": np.zeros((4, 2))}, r"latent has shape \(4, 2\); the model takes \(n_samples, 3\)"),
    ({"latent": np.zeros(3)}, r"latent has shape \(3,\); the model takes \(n_samples, 3\)"),
    ({"latent": np.array([[0, 0, 0], [0, np.nan, 0]])}, "latent is not finite in row 1"),
    ({"latent": np.array([[0, 0, np.inf]])}, "latent is not finite in row 0"),
]
BAD_TARGETS = [
    (
        {"labels": {"cell_type": "type Z", "condition": "drug 1"}},
        ValueError,
        r"no cell has obs\['cell_type'\] == 'type Z'",
    ),
    ({"labels": {"cell_type": "type B", "nope": "drug 1"}}, KeyError, rf"obs\['nope'\] does not exist; {COLUMNS}"),
    ({"labels": {"cell_type": "type B"}}, ValueError, "a combination needs the labels of two or more obs keys"),
    (
        {"labels": TARGET, "along": "batch"},
        ValueError,
        r"along is 'batch'; it must be one of the target's keys \['cell",
    ),
    (
        {"labels": TARGET, "along": "condition", "references": ["drug 9", "control"]},
        ValueError,
        r"references \['drug 9'\] cannot be used along 'condition'; choose from \['control', 'drug 2'\]",
    ),
    (
        {"labels": TARGET, "along": "cell_type", "references": []},
        ValueError,
        r"cannot be used along 'cell_type'; choose from \['type A', 'type C'\]",
    ),
    ({"labels": TARGET, "n_samples": 0}, ValueError, "n_samples is 0; ask for at least 1 cell"),
    ({"labels": TARGET, "method": "all"}, ValueError, r"method is 'all'; choose from \['kriging', 'additive'"),
    (
        {"labels": TARGET, "along": "condition", "method": replace(METHODS["additive"], weights={"type D": 1})},
        ValueError,
        r"weights has \['type D'\], which are no contexts of these references; choose from \['type A', 'type C'\]",
    ),
]


@pytest.fixture
def unseen(stored):
    """The cells without one combination."""
    return stored[~((stored.obs["cell_type"] == "type B") & (stored.obs["condition"] == "drug 1"))].copy()


@pytest.fixture
def trained(unseen, make_gan):
    return make_gan(unseen, latent_key="Z", latent_var_key="V")


def test_requests(trained, assert_unchanged):
    before = trained.adata.copy()
    for request, error, message in BAD_CELLS:
        with pytest.raises(error, match=message):
            trained.generate(**request)
    for request, message in BAD_LATENTS:
        with pytest.raises(ValueError, match=message):
            trained.generate(**request)
    for request, error, message in BAD_TARGETS:
        with pytest.raises(error, match=message):
            trained.predict_combination(**request)
    assert_unchanged(trained.adata, before)


def test_requests_of_the_vae(unseen, make_vae):
    model = make_vae(unseen)
    for request, error, message in BAD_CELLS:
        with pytest.raises(error, match=message):
            model.generate(**request)
    for request, message in BAD_LATENTS:
        with pytest.raises(ValueError, match=message):
            model.generate(**request)


def test_no_usable_reference(stored, make_gan):
    # type B was seen under one treatment only, so that no other cell shows what a change of treatment does to it
    keep = (stored.obs["cell_type"] == "type A") | (stored.obs["condition"] == "control")
    adata = stored[keep & (stored.obs["cell_type"] != "type C") & (stored.obs["condition"] != "drug 2")].copy()
    adata = adata[~((adata.obs["cell_type"] == "type A") & (adata.obs["condition"] == "control"))].copy()
    model = make_gan(adata, latent_key="Z", fit={"batch_size": 20})
    for along in ("cell_type", "condition", None):
        with pytest.raises(
            ValueError, match=r"no reference for \{'cell_type': 'type B', 'condition': 'drug 1'\} along"
        ):
            model.predict_combination(TARGET, along=along)


def test_a_key_with_one_label(stored, make_gan):
    model = make_gan(stored[stored.obs["condition"] == "drug 1"].copy(), latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises(ValueError, match=r"obs\['condition'\] has 'drug 1' only; give keys with two or more labels"):
        model.predict_combination(TARGET)


@pytest.mark.parametrize("method", ["kriging", "additive"])
def test_a_reference_with_three_cells(unseen, make_gan, method):
    control = np.flatnonzero((unseen.obs["cell_type"] == "type B") & (unseen.obs["condition"] == "control"))
    adata = unseen[np.setdiff1d(np.arange(unseen.n_obs), control[3:])].copy()
    model = make_gan(adata, latent_key="Z", fit={"max_epochs": 0})
    with pytest.warns(
        UserWarning, match=r"fewer than 10 cells .*'type B', 'control'.*add cells, or leave them out with"
    ) as w:
        cells = model.predict_combination(TARGET, along="condition", method=method)
    assert w[0].filename == __file__
    assert np.isfinite(cells.X).all()
    model.predict_combination(TARGET, along="condition", references=["drug 2"], method=method)  # no warning


def test_a_context_with_three_cells(unseen, make_gan):
    treated = np.flatnonzero((unseen.obs["cell_type"] == "type A") & (unseen.obs["condition"] == "drug 1"))
    adata = unseen[np.setdiff1d(np.arange(unseen.n_obs), treated[3:])].copy()
    model = make_gan(adata, latent_key="Z", fit={"max_epochs": 0})
    request = {"labels": TARGET, "along": "condition", "references": ["control"]}
    with pytest.warns(
        UserWarning, match=r"fewer than 10 cells .*'type A', 'drug 1'.*add cells, or leave them out with"
    ):
        model.predict_combination(**request, method="additive")
    model.predict_combination(**request, method=replace(METHODS["additive"], weights={"type C": 1}))  # no warning
    model.predict_combination(**request)  # nor here, where few cells are trusted little


@pytest.mark.parametrize("along", ["cell_type", "condition"])
def test_cells_of_the_target_that_were_seen_are_left_out(stored, make_gan, along):
    target = (stored.obs["cell_type"] == "type B") & (stored.obs["condition"] == "drug 1")
    latents = []
    for offset in (0, 50):
        adata = stored.copy()
        adata.obsm["Z"][target.to_numpy()] += offset
        model = make_gan(adata, latent_key="Z")
        with pytest.warns(UserWarning, match=rf"{target.sum()} of the cells .* left out of the arithmetic") as w:
            model.predict_combination(TARGET, along=along)
        assert w[0].filename == __file__
        latents.append(adata.obsm["X_michigan_predicted"])
    np.testing.assert_array_equal(*latents)
    assert np.isnan(latents[0][target]).all()


def test_saved_model_and_other_genes(trained, tmp_path):
    trained.save(str(tmp_path / "model"))
    adata = trained.adata
    shuffled = adata[:, adata.var_names[::-1]].copy()
    fewer = adata[:, 5:].copy()
    renamed = adata.copy()
    renamed.var_names = [f"other_{name}" if i == 7 else name for i, name in enumerate(adata.var_names)]
    for cells, message in [
        (shuffled, r"adata has 40 genes, .* set up with 40, and they differ: take them in the model's order"),
        (fewer, r"adata has 35 genes, .* set up with 40, and they differ: 5 of its genes are missing, the first is"),
        (renamed, r"adata has 40 genes, .* 1 of its genes are missing, the first is 'gene_7'"),
    ]:
        with pytest.raises(ValueError, match=message), pytest.warns(UserWarning, match="var_names"):  # scvi-tools'
            MichiGAN.load(str(tmp_path / "model"), cells)
        with pytest.raises(ValueError, match=message):
            trained.get_observed_expression(cells)


def test_other_kind_of_expression_than_the_model_was_set_up_with(trained):
    logged = trained.adata.copy()
    logged.X = np.log1p(logged.X.toarray())
    with pytest.raises(ValueError, match="adata.X holds log-normalised values, but raw counts were declared"):
        trained.get_observed_expression(logged)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_only_documented_keys_are_written(counts, make_gan, assert_unchanged, form, dtype):
    counts = counts[counts.obs["cell_type"].cat.codes.argsort()].copy()
    x = counts.X.toarray().astype(dtype)
    counts.X, counts.layers["raw"] = form(x), form(x)
    counts.uns["note"] = "mine"
    before = counts.copy()
    model = make_gan(
        counts,
        layer="raw",
        batch_key="batch",
        labels_key="cell_type",
        size_factor_key="total_counts",
        fit={"max_epochs": 1},
    )
    expression = model.get_observed_expression()
    expression *= 2
    model.generate(10)
    with pytest.warns(UserWarning, match="left out"):
        model.predict_combination(TARGET)
    written = ("X_michigan", "X_michigan_var", "X_michigan_predicted")
    assert_unchanged(counts, before, written=written)
    assert set(written) <= set(counts.obsm)


def test_expression_that_was_logged_before_is_returned_as_a_copy(logged, make_gan, assert_unchanged):
    before = logged.copy()
    model = make_gan(logged, train=False)
    expression = model.get_observed_expression()
    expression.data[:] = 0
    assert_unchanged(logged, before)


@pytest.mark.parametrize("cls", [BetaTCVAE, MichiGAN, PPCA])
def test_setup_names_what_it_does_not_know(counts, cls):
    with pytest.raises(
        TypeError, match=f"{cls.__name__} has no label_key to set up; its arguments are layer, .*labels_key"
    ):
        cls.setup_anndata(counts, label_key="cell_type")


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"plan_kwargs": {"lr": 1e-3}}, "plan_kwargs has lr; its arguments are n_critic, lr_generator"),
        ({"plan_kwargs": "lr"}, "plan_kwargs is 'lr'; give a dictionary, whose keys may be n_critic"),
        ({"n_critic": 3}, r"MichiGAN.train has no n_critic; give it in plan_kwargs=\{'n_critic': 3\}"),
        ({"gradient_clip_val": 1.0}, "gradient_clip_val is 1.0, but the generator and the critic take their own steps"),
        (
            {"early_stopping": True},
            "early_stopping would look at 'elbo_validation', and a GAN has no cells for validation",
        ),
        ({"overfit_batches": 2}, "MichiGAN.train has no overfit_batches"),
        ({"plan_kwargs": {"n_critic": 0}}, "n_critic is 0; it must be a whole number"),
        ({"plan_kwargs": {"betas": 0.5}}, "betas is 0.5; give two numbers"),
        ({"plan_kwargs": {"lr_critic": -1}}, "lr_critic is -1; it must be a number, 0 or more"),
        ({"max_epochs": 2.5}, "max_epochs is 2.5; give a whole number"),
        ({"train_size": 0.9}, r"MichiGAN.train has no train_size; give it in latent_kwargs=\{'train_size': 0.9\}"),
        ({"beta": 3}, "MichiGAN.train has no beta; it is one of the constructor, beta=3 where the model is made"),
        ({"thinning": 0.5}, "MichiGAN.train has no thinning; it is one of the constructor, thinning=0.5 where"),
        ({"epochs": 3}, "MichiGAN.train has no epochs; its arguments are max_epochs, batch_size"),
        ({"ckpt_path": "run.ckpt"}, "ckpt_path is 'run.ckpt', and there is no such file; give one that"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_of_a_training_are_looked_at_before_it_starts(counts, stored, make_gan, small, fit, message):
    model = make_gan(counts, train=False)
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        model.train(**small.gan_fit | fit)
    assert model.latent_model is None
    trained = make_gan(stored, latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message.split(";")[0]):
        trained.train(**small.gan_fit | fit)
    assert trained.generate(3).n_obs == 3


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"plan_kwargs": {"learning_rate": 1}}, "plan_kwargs has learning_rate; its arguments are optimizer, .*lr, "),
        ({"plan_kwargs": {"beta": 3}}, "plan_kwargs has beta; its arguments are"),
        ({"plan_kwargs": {"update_only_decoder": True}}, "plan_kwargs has update_only_decoder; its arguments are"),
        (
            {"plan_kwargs": {"n_epochs_kl_warmup": 5}},
            "plan_kwargs has n_epochs_kl_warmup, but .* kl_weight of the constr",
        ),
        ({"plan_kwargs": {"lr": 1e-4}, "lr": 1e-2}, "lr is 0.01, and 0.0001 in plan_kwargs; leave one of them out"),
        ({"weight_decay": 0.1}, r"BetaTCVAE.train has no weight_decay; give it in plan_kwargs=\{'weight_decay': 0.1\}"),
        (
            {"early_stopping": True, "train_size": 1.0},
            "early_stopping looks at 'elbo_validation', but train_size is 1.0",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_of_a_training_of_the_latent(counts, make_vae, small, fit, message):
    model = make_vae(counts, train=False)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with pytest.raises((ValueError, TypeError), match=message):
        model.train(**small.fit | fit)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_early_stopping_is_for_the_generator(counts, make_gan):
    stop = {"early_stopping": True, "early_stopping_monitor": "generator_loss", "early_stopping_patience": 1}
    model = make_gan(counts, fit={"max_epochs": 5, "early_stopping_min_delta": 1e6, **stop})
    assert len(model.history["generator_loss"]) == 2
    assert len(model.latent_model.history["train_loss"]) == 2
    # As a callback, it would look in vain for the generator's loss in the first stage.
    stop = EarlyStopping("generator_loss", min_delta=1e6, patience=1, check_on_train_epoch_end=True)
    with_callback = make_gan(counts.copy(), fit={"max_epochs": 5, "callbacks": [stop]})
    assert len(with_callback.history["generator_loss"]) == 2


def test_beta_is_not_for_a_latent_that_is_there(stored):
    MichiGAN.setup_anndata(stored, latent_key="Z")
    with pytest.raises(
        ValueError, match=r"beta is 5.0, but the latent is there already, in obsm\['Z'\]; leave beta out"
    ):
        MichiGAN(stored, beta=5.0)


def test_size_factors_of_other_cells_are_warned_of(counts):
    totals = counts.obs["total_counts"].to_numpy()
    counts.obs["total"] = np.random.default_rng(0).permutation(totals)
    counts.obs["text"] = counts.obs["total_counts"].astype(str)
    message = (
        r"obs\['total'\] does not follow the counts .* it is .* for cell .*, which has .* counts; .* another order"
    )
    with pytest.warns(UserWarning, match=message):
        BetaTCVAE.setup_anndata(counts, size_factor_key="total")
    with pytest.raises(ValueError, match=r"obs\['text'\] has numbers as .*, such as '.*': convert the column first"):
        BetaTCVAE.setup_anndata(counts, size_factor_key="text")
    # Those of a method of normalisation follow the totals, on either side of them, and one for all is a choice.
    counts.obs["total"] = totals * np.random.default_rng(0).uniform(0.9, 1.1, len(totals))
    BetaTCVAE.setup_anndata(counts, size_factor_key="total")
    counts.obs["total"] = totals.mean()
    BetaTCVAE.setup_anndata(counts, size_factor_key="total")


def test_a_latent_is_not_fitted_twice(counts, make_gan, small):
    model = make_gan(counts)
    with pytest.raises(ValueError, match="which this model has done; leave them out"):
        model.train(**small.gan_fit, latent_kwargs={"max_epochs": 5})


@pytest.mark.parametrize("layer", [None, "raw"])
def test_counts_that_were_normalised_in_place_since_are_refused(stored, make_gan, make_vae, layer):
    stored.layers["raw"] = stored.X.copy()
    model = make_gan(stored, latent_key="Z", layer=layer)
    place = "adata.X" if layer is None else r"adata.layers\['raw'\]"
    logs = stored.X.log1p()
    if layer is None:
        stored.X = logs
    else:
        stored.layers["raw"] = logs
    for use in (model.generate, model.train, model.get_observed_expression):
        with pytest.raises(ValueError, match=f"{place} held raw counts when it was registered, and has fractions now"):
            use()


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (
            {"categorical_covariate_keys": "batch"},
            r"categorical_covariate_keys is 'batch'; give a list .*: \['batch'\]",
        ),
        ({"continuous_covariate_keys": "total"}, r"continuous_covariate_keys is 'total'; give a list .*: \['total'\]"),
        ({"batch_key": ["batch"]}, r"batch_key is \['batch'\]; give the name of one column"),
    ],
)
def test_a_column_where_a_list_belongs_and_the_other_way_round(counts, make_vae, setup, message):
    with pytest.raises(ValueError, match=message):
        make_vae(counts, **setup)


@pytest.mark.parametrize(
    ("values", "level", "expected"),
    [
        (pd.array(["x", "y", None] * 80, dtype="string"), "x", ["x"] * 5),
        (pd.array([1, 2, None] * 80, dtype="Int64"), 1, [1] * 5),
        (pd.array([True, False, None] * 80, dtype="boolean"), True, [True] * 5),
    ],
    ids=["string", "Int64", "boolean"],
)
def test_labels_of_columns_with_missing_values(stored, make_gan, values, level, expected):
    stored.obs["some"] = values
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 0})
    cells = model.generate(5, labels={"some": level})
    sources = stored.obs["some"].loc[cells.obs["michigan_source"]]
    assert sources.tolist() == expected


def test_levels_in_an_error_are_as_they_are_typed_and_not_all_of_them(stored, make_gan):
    stored.obs["cluster"] = pd.Categorical(np.arange(240) % 3)
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises(ValueError, match=r"== '1'; the levels are \[0, 1, 2\]"):
        model.generate(5, labels={"cluster": "1"})
    with pytest.raises(ValueError, match="and [0-9]+ more and, for a prediction") as caught:
        model.generate(5, labels={"total_counts": 5.5})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"thinning": None}, "thinning is None; it must be above 0 and at most 1"),
        ({"generator_hidden": 32}, "generator_hidden is 32; it must be a sequence"),
        ({"critic_hidden": ()}, r"critic_hidden is \(\); it must be a sequence"),
        ({"generator_hidden": (0,)}, r"generator_hidden is \(0,\); it must be a sequence"),
        ({"closed_form_start": "no"}, "closed_form_start is 'no'; it must be True or False"),
        ({"n_noise": 1.5}, "n_noise is 1.5; it must be a whole number"),
        ({"n_centres": -1}, "n_centres is -1; it must be a whole number, at least 0"),
        ({"n_latent": 2.5}, "n_latent is 2.5; a latent needs"),
        ({"beta": "a"}, "beta is 'a'; the weight"),
        ({"module_kwargs": {}}, "does not know module_kwargs; its arguments are ((?!module_kwargs).)*$"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_of_the_model(counts, make_gan, init, message):
    with pytest.raises(ValueError, match=message):
        make_gan(counts, train=False, init=init)


def test_another_width_than_that_of_the_stored_latent(stored, make_gan):
    with pytest.raises(ValueError, match=r"n_latent is 7, and obsm\['Z'\], .* has 3 columns; leave n_latent out"):
        make_gan(stored, latent_key="Z", train=False, init={"n_latent": 7})


@pytest.mark.parametrize("n_cells", [-1, 0, 1, 2.5])
def test_cells_of_latent_recovery(stored, make_gan, n_cells):
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises(ValueError, match=f"n_cells is {n_cells}: give"):
        model.latent_recovery(n_cells=n_cells)
