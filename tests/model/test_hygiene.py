"""What users hand over: the right result, or an error that names the value, the place and the cure."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import scvi

from scmichigan import PPCA, MichiGAN

NAN = np.ones((240, 3))
NAN[3, 1] = np.nan
NORMAL = np.random.default_rng(0).normal(size=(240, 512))
# Latents that are stored, or come from a latent model: how many dimensions they have, or the error.
LATENTS = {
    "NaN": (
        NAN,
        r"is (not finite|nan) .*'cell_3'(; compute the latent again|: look at its history, and train it again)",
    ),
    "of another length": (NORMAL[:200, :3], r"'.*' is of incorrect shape.* \(200,\) .* should have had \(240,\)"),
    "constant": (np.ones((240, 3)), r"obsm\['.*'\] is the same for all cells; a constant latent can condition nothing"),
    "1-dimensional": (NORMAL[:, 0], 1),  # one column, as anndata has it
    "512-dimensional": (NORMAL, 512),
}


@pytest.mark.parametrize("source", ["stored", "latent model"])
@pytest.mark.parametrize(("latent", "outcome"), LATENTS.values(), ids=LATENTS)
def test_latents(counts, small, monkeypatch, source, latent, outcome):
    def build():
        if source == "stored":
            counts.obsm["Z"] = latent
            MichiGAN.setup_anndata(counts, latent_key="Z")
            return MichiGAN(counts, **small.gan)
        PPCA.setup_anndata(counts)
        latent_model = PPCA(counts, n_latent=2)
        latent_model.train()
        monkeypatch.setattr(latent_model, "get_latent_representation", lambda adata=None, indices=None: latent)
        return MichiGAN.from_latent_model(latent_model, **small.gan)

    if isinstance(outcome, str):
        with pytest.raises(ValueError, match=outcome):
            build()
        return
    model = build()
    model.train(max_epochs=0)
    assert model.n_latent == outcome
    cells = model.generate(20)
    assert cells.obsm["X_michigan"].shape == (20, outcome)
    assert np.isfinite(cells.X).all()


def _obs(adata, key, value, n_cells=1):
    changed = adata.obs[key].astype(object)
    changed.iloc[3 : 3 + n_cells] = value
    return adata.obs.assign(**{key: changed})


def _with(**parts):
    def change(adata, path):
        for name, value in parts.items():
            setattr(adata, name, value(adata))
        return adata

    return change


def _backed(adata, path):
    adata.write_h5ad(path / "cells.h5ad")
    return anndata.read_h5ad(path / "cells.h5ad", backed="r")


def _view(adata, path):
    bigger = anndata.concat([adata, adata[:5]], index_unique="-", merge="same")
    return bigger[:240]


def _twice(names):
    return [names[0], *names[:-1]]


# Later cells, which differ from those of the setup in one respect: None for the same result, or the error.
CELLS = {
    "a copy": (_with(), None, None),
    **{
        f"{form.__name__} of {dtype.__name__}": (
            _with(X=lambda a, form=form, dtype=dtype: form(a.X.toarray().astype(dtype))),
            None,
            None,
        )
        for form in (np.asarray, sp.csr_matrix, sp.csc_matrix)
        for dtype in (np.float64, np.int64)
    },
    "a view": (_view, None, None),
    "cell names twice": (_with(obs_names=lambda a: _twice(a.obs_names)), None, None),
    "another label": (_with(obs=lambda a: _obs(a, "cell_type", "type Z", n_cells=5)), None, None),
    "backed": (_backed, ValueError, r"adata is backed by a file; load it with adata.to_memory\(\) first"),
    "another batch": (
        _with(obs=lambda a: _obs(a, "batch", "batch 9")),
        ValueError,
        r"obs\['batch'\] is 'batch 9' for some cells, .* set up with \['batch 1', 'batch 2'\]; give these cells",
    ),
    "another level": (
        _with(obs=lambda a: _obs(a, "condition", "drug 9")),
        ValueError,
        r"obs\['condition'\] is 'drug 9' for some cells, .* set up with \['control', 'drug 1', 'drug 2'\]; give these",
    ),
    "no batch": (
        _with(obs=lambda a: _obs(a, "batch", None)),
        ValueError,
        r"obs\['batch'\] is missing for 1 cells, the first is 'cell_3'; remove these cells or give them a label",
    ),
    "no number": (
        _with(obs=lambda a: _obs(a, "pseudotime", np.nan)),
        ValueError,
        r"obs\['pseudotime'\] is nan for cell 'cell_3'; continuous covariates must be finite numbers: impute it",
    ),
    "no column": (_with(obs=lambda a: a.obs.drop(columns="batch")), KeyError, r"obs\['batch'\] does not exist"),
    "no numbers": (_with(obs=lambda a: a.obs.drop(columns="pseudotime")), KeyError, r"obs\['pseudotime'\] does not"),
    "other genes": (
        lambda adata, path: adata[:, 5:].copy(),
        ValueError,
        "adata has 35 genes, the model was set up with 40, .*: 5 of its genes are missing, the first is 'gene_0'",
    ),
    "genes twice": (
        lambda adata, path: adata[:, [0, *range(39)]].copy(),
        ValueError,
        "1 of its genes are missing, the first is 'gene_39'",
    ),
}


@pytest.fixture(scope="module")
def covariates():
    return {
        "batch_key": "batch",
        "labels_key": "cell_type",
        "categorical_covariate_keys": ["condition"],
        "continuous_covariate_keys": ["pseudotime"],
    }


@pytest.fixture(scope="module")
def trained(screen_cells, small, covariates):
    adata = screen_cells.copy()
    MichiGAN.setup_anndata(adata, **covariates)
    model = MichiGAN(adata, n_latent=3, **small.gan)
    model.train(max_epochs=0, latent_kwargs=small.fit)
    return model


# anndata's warnings have the cure.
@pytest.mark.filterwarnings("ignore:(Variable|Observation) names are not unique:UserWarning")
@pytest.mark.parametrize(("change", "error", "message"), CELLS.values(), ids=CELLS)
def test_later_cells(trained, counts, tmp_path, change, error, message):
    cells = change(counts, tmp_path)
    if error is None:
        np.testing.assert_array_equal(trained.get_latent_representation(cells), trained.get_latent_representation())
        assert trained.latent_recovery(cells, n_cells=50)["generated"].notna().all()
        return
    with pytest.raises(error, match=message):
        trained.get_latent_representation(cells)
    with pytest.raises(error, match=message):
        trained.get_observed_expression(cells)


@pytest.mark.filterwarnings("ignore:(Variable|Observation) names are not unique:UserWarning")
def test_names_twice_at_setup(stored, small):
    """Cells and genes are counted, never looked up by name."""
    generated = []
    for again in (False, True):
        adata = stored.copy()
        if again:
            adata.obs_names, adata.var_names = _twice(adata.obs_names), _twice(adata.var_names)
        scvi.settings.seed = 0
        MichiGAN.setup_anndata(adata, latent_key="Z")
        model = MichiGAN(adata, **small.gan)
        model.train(max_epochs=0)
        generated.append(model.generate(20).X)
    np.testing.assert_array_equal(*generated)


def test_descriptions(trained, capsys):
    repr(trained)
    trained.view_anndata_setup()
    printed = capsys.readouterr().out
    assert "MichiGAN with n_latent: 3 from beta-TCVAE (beta: 10.0)" in printed
    assert "Setup via `MichiGAN.setup_anndata` with arguments" in printed
    assert "continuous_covariate_keys" in printed


@pytest.mark.parametrize(("preset", "makes"), [("default", "counts"), ("paper", "log-normalised expression")])
def test_a_description_says_what_is_made(stored, capsys, preset, makes):
    MichiGAN.setup_anndata(stored, latent_key="Z")
    repr(MichiGAN(stored, preset=preset))
    printed = " ".join(capsys.readouterr().out.split())
    assert "from obsm['Z'], on raw counts of adata.X" in printed
    assert f"makes {makes}" in printed


@pytest.mark.parametrize("given", [{"size_factor_key": "total_counts"}, {"target_sum": 1e6}])
def test_what_counts_are_scaled_by_is_not_used_with_logarithms_and_a_warning(logged, given):
    ((name, value),) = given.items()
    with pytest.warns(UserWarning, match=f"{name}={value!r} is not used: adata.X holds log-normalised values"):
        MichiGAN.setup_anndata(logged, **given)
