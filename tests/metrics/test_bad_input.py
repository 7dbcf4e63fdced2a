"""What all tables do with cells that are odd: a right answer, or an error or a warning that names the cure."""

import re
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmichigan.metrics import _summary, disentanglement, generator_disentanglement, prediction, realism, summary

FACTORS = "type"
TARGET = {"type": "b", "condition": "drug"}
pytestmark = pytest.mark.usefixtures("few_trees")
FAST = {"n_trees": 3, "enable_progress_bar": False}
COMBINATIONS = [("a", "ctrl"), ("a", "drug"), ("b", "ctrl"), ("b", "other")]
SIDES = ["real", "generated", "predicted", "hidden", "control"]


@pytest.fixture
def cells():
    """240 real cells, and others of the same 8 genes; the control cells are those of real."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(COMBINATIONS * 60, columns=["type", "condition"]).astype("category").rename(str)
    obs["time"] = rng.random(240)
    real = AnnData(_expression(rng, obs), obs=obs)
    real.obsm["X_michigan"] = np.column_stack([obs["time"], obs["type"].cat.codes, real.X[:, 0]])
    generated = AnnData(_expression(rng, obs), obsm={"X_michigan": real.obsm["X_michigan"]})
    predicted = AnnData(_expression(rng, obs[:60]), uns={"michigan": {"target": TARGET}})
    control = real[(obs["type"] == "b") & (obs["condition"] == "ctrl")].copy()
    hidden = AnnData(_expression(rng, obs[:110]))
    return {"real": real, "generated": generated, "predicted": predicted, "hidden": hidden, "control": control}


def _expression(rng, obs):
    codes = np.column_stack([obs["type"].cat.codes, obs["condition"].cat.codes, obs["time"]])
    mixing = np.array([[2, 0, 0, 1, 1, 0, 0, 1], [0, 2, 0, 1, 0, 1, 0, 1], [0, 0, 2, 0, 1, 1, 0, 1]])
    return np.maximum(0, codes @ mixing + rng.normal(0.5, 0.5, (len(obs), 8)))


TABLES = {
    "disentanglement": (lambda c: disentanglement(c["real"], keys=FACTORS, enable_progress_bar=False), ["real"]),
    "generator_disentanglement": (
        lambda c: generator_disentanglement(c["real"], c["generated"], keys=FACTORS, enable_progress_bar=False),
        ["generated", "real"],
    ),
    "realism": (
        lambda c: realism(c["real"], c["generated"], labels_key=c.get("labels_key"), **FAST),
        ["real", "generated"],
    ),
    "prediction": (
        lambda c: prediction(c["hidden"], c["predicted"], c["control"], basis=c["real"], **FAST),
        ["predicted", "hidden", "control", "real"],
    ),
    "summary": (
        lambda c: summary(
            c["real"],
            c["generated"],
            c["predicted"],
            hidden=c["hidden"],
            control_labels={"condition": "ctrl"},
            keys=FACTORS,
            labels_key=c.get("labels_key"),
            **FAST,
        ),
        ["real", "generated", "predicted", "hidden"],
    ),
}
# prediction's own names of the cells
NAMES = {("prediction", "hidden"): "real", ("prediction", "real"): "basis", ("disentanglement", "real"): "adata"}
OF_LATENTS = ["disentanglement", "generator_disentanglement", "summary"]
PAIRS = [(table, side) for table, (_, sides) in TABLES.items() for side in sides]
each_side = pytest.mark.parametrize(("table", "side"), PAIRS)
of_expression = pytest.mark.parametrize(("table", "side"), [p for p in PAIRS if p != ("disentanglement", "real")])


@pytest.fixture
def refuse(monkeypatch):
    """Expect an error, before anything is computed and with nothing written."""
    monkeypatch.setattr(_summary, "computed", lambda *plans, **options: pytest.fail("computed"))

    def check(table, cells, message):
        before = _written(cells)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # other sides may be few as well
            with pytest.raises(ValueError, match=message):
                TABLES[table][0](cells)
        assert _written(cells) == before

    return check


def _written(cells):
    return {name: (set(part.uns), set(part.obsm)) for name, part in cells.items() if name in SIDES}


@each_side
def test_no_cells(cells, refuse, table, side):
    cells[side] = cells[side][:0].copy()
    name = NAMES.get((table, side), side)
    refuse(table, cells, rf"{name} has (shape \(0, 8\): give at least one cell|0 cells: give 5 or more)")


@pytest.mark.parametrize(
    ("table", "side", "n_cells", "least"),
    [
        ("disentanglement", "real", 4, "adata has 4 cells: give 5 or more"),
        ("generator_disentanglement", "generated", 4, "generated has 4 cells: give 5 or more"),
        ("generator_disentanglement", "real", 4, "real has 4 cells: give 5 or more"),
        ("realism", "real", 14, "real has 14 cells: give 3 x 5 or more without held_out"),
        ("realism", "generated", 4, "generated has 4 cells: give 5 or more"),
        ("prediction", "predicted", 4, "predicted has 4 cells: give 5 or more"),
        ("prediction", "hidden", 9, "real has 9 cells: give 2 x 5 or more"),
        ("prediction", "control", 4, "control has 4 cells: give 5 or more"),
        ("summary", "real", 14, "real has 14 cells: give 3 x 5 or more without held_out"),
        ("summary", "generated", 4, "generated has 4 cells: give 5 or more"),
        ("summary", "predicted", 4, "predicted has 4 cells: give 5 or more"),
        ("summary", "hidden", 9, "hidden has 9 cells: give 2 x 5 or more"),
    ],
)
def test_too_few_cells(cells, refuse, table, side, n_cells, least):
    cells[side] = cells[side][:n_cells].copy()
    refuse(table, cells, least)


@pytest.mark.parametrize(
    ("table", "side", "n_cells", "needed"),
    [
        ("disentanglement", "real", 49, "50 or more"),
        ("generator_disentanglement", "generated", 49, "50 or more"),
        ("generator_disentanglement", "real", 49, "50 or more"),
        ("realism", "real", 149, "3 x 50 or more without held_out"),
        ("realism", "generated", 49, "50 or more"),
        ("prediction", "predicted", 49, "50 or more"),
        ("prediction", "hidden", 99, "2 x 50 or more"),
        ("prediction", "control", 49, "50 or more"),
        ("summary", "generated", 49, "50 or more"),
        ("summary", "hidden", 99, "2 x 50 or more"),
    ],
)
def test_fewer_cells_than_values_can_be_had_from(cells, table, side, n_cells, needed):
    """One cell more, and there is no warning."""
    call, _ = TABLES[table]
    cells[side] = cells[side][: n_cells + 1].copy()
    call(cells)
    cells[side] = cells[side][:n_cells].copy()
    name = NAMES.get((table, side), side)
    beside = "chance" if "disentanglement" in table else "real cells"
    with pytest.warns(
        UserWarning, match=rf"values are mostly noise: .*{name} has {n_cells} \(give {needed}\)"
    ) as warned:
        call(cells)
    assert any(f"read them beside the column '{beside}'" in str(each.message) for each in warned)
    # pytest.warns records what the filters ignore, too: deprecations of anndata under pandas 3.
    assert all(each.filename == __file__ for each in warned if each.category is UserWarning)


def test_few_cells_may_be_asked_for(cells):
    with pytest.warns(UserWarning, match=r"mostly noise: n_cells is 20 \(give 50 or more\)"):
        disentanglement(cells["real"], keys=FACTORS, n_cells=20, enable_progress_bar=False)


@of_expression
def test_other_genes(cells, refuse, table, side):
    whole = cells[side]
    cells[side] = whole[:, :6].copy()
    refuse(table, cells, "has (6|8) genes, .* has (6|8): give both with the same genes")
    cells[side] = whole[:, ::-1].copy()
    refuse(table, cells, r"bring both to the same genes in the same order, as in \w+\[:, \w+.var_names\]")


@of_expression
def test_missing_values(cells, refuse, table, side):
    cells[side].X[3, 2] = np.nan
    refuse(table, cells, rf"{NAMES.get((table, side), side)} has 1 value that is NaN or infinite: remove or replace")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        *((table, "factor 'type' has 1 different value.*leave it out") for table in OF_LATENTS),
        ("realism", r"obs\['type'\] has 1 different label in 80 of the 80 cells compared with: give 2 or more"),
    ],
)
def test_one_factor_value(cells, refuse, table, message):
    cells["real"].obs["type"] = pd.Categorical(["b"] * 240)
    refuse(table, cells | {"labels_key": "type"}, message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        *((table, "factor 'type' has 0 different values") for table in OF_LATENTS),
        ("realism", r"obs\['type'\] has 0 different labels in 0 of the 80 cells compared with"),
    ],
)
def test_no_labels_at_all(cells, refuse, table, message):
    cells["real"].obs["type"] = np.nan
    refuse(table, cells | {"labels_key": "type"}, message)


@pytest.mark.parametrize("table", ["realism", "summary"])
def test_labels_that_are_numbers(cells, refuse, table):
    message = r"obs\['time'\] has 80 different labels in 80 of the 80 cells compared with: give 2 or more, each in two"
    refuse(table, cells | {"labels_key": "time"}, message)


@pytest.mark.parametrize("table", ["disentanglement", "generator_disentanglement", "realism", "summary"])
def test_cells_without_labels_are_left_out_and_counted(cells, table):
    call, _ = TABLES[table]
    cells["real"].obs.loc[cells["real"].obs_names[:12], "type"] = np.nan
    cells["labels_key"] = "type" if table == "realism" else None
    name = NAMES.get((table, "real"), "real")
    counted = r"\d+ of 80" if table == "realism" else "12 of 240"
    with pytest.warns(UserWarning, match=f"cells of {name} without a label are left out of .*{counted} no 'type'"):
        result = call(cells)
    parts = result.attrs.values() if table == "summary" else [result.attrs]
    n_missing = [part["without_label"]["type"] for part in parts if part.get("without_label")]
    assert n_missing
    assert all(0 < n <= 12 for n in n_missing)
    assert result.iloc[:, 0].notna().any()


@pytest.mark.parametrize("table", OF_LATENTS)
def test_constant_latents(cells, table):
    side = "generated" if table == "generator_disentanglement" else "real"
    cells[side].obsm["X_michigan"] = np.ones((240, 3))
    with pytest.warns(UserWarning, match="latent 1, latent 2, latent 3 of 3 are the same in all cells; fit it again"):
        result = TABLES[table][0](cells)
    result = result.loc["disentanglement"] if table == "summary" else result
    gaps = result.index.str.contains("gap|MIG|SAP")
    assert gaps.any()
    assert (result[gaps].iloc[:, 0] == 0).all()
    assert result[result.index.str.contains("total correlation")].iloc[:, 0].isna().all()


@pytest.mark.parametrize("table", OF_LATENTS)
def test_latents_that_are_not_finite(cells, refuse, table):
    side = "generated" if table == "generator_disentanglement" else "real"
    latent = cells[side].obsm["X_michigan"].copy()
    latent[:2] = np.nan
    cells[side].obsm["X_michigan"] = latent
    refuse(table, cells, r"obsm\['X_michigan'\] is not finite in 2 cells: leave these cells out")


def _in_a_file(adata, folder):
    path = folder / f"{len(list(folder.iterdir()))}.h5ad"
    adata.write_h5ad(path)
    return anndata.read_h5ad(path, backed="r")


FORMS = {
    "csr": lambda adata, folder: _with_x(adata, sparse.csr_matrix(adata.X)),
    "csc": lambda adata, folder: _with_x(adata, sparse.csc_matrix(adata.X)),
    "view": lambda adata, folder: anndata.concat([adata, adata], uns_merge="same", index_unique="-")[: adata.n_obs],
    "backed": _in_a_file,
}


def _with_x(adata, x):
    adata = adata.copy()
    adata.X = x
    return adata


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_same_cells(cells, table, form, tmp_path):
    call, _ = TABLES[table]
    expected = call({name: adata.copy() for name, adata in cells.items()})  # which may be written to
    changed = {name: FORMS[form](adata, tmp_path) for name, adata in cells.items()}
    pd.testing.assert_frame_equal(call(changed), expected, rtol=1e-3)
    for adata in changed.values():
        if form == "view":
            assert adata.is_view
        elif form == "backed":
            adata.file.close()


@pytest.mark.parametrize("table", ["generator_disentanglement", "realism", "prediction", "summary"])
def test_counts_genes_without_expression_and_copies(cells, table):
    call, _ = TABLES[table]
    made, truth = (
        ("generated", "real") if table in ("generator_disentanglement", "realism") else ("predicted", "hidden")
    )
    plain = {name: adata.copy() for name, adata in cells.items()}

    def changed(change):
        return {name: _with_x(adata, change(adata.X)) for name, adata in plain.items()}

    with pytest.warns(UserWarning, match=r"these are counts: .*\(integers up to \d+\); .*: log-normalise all sides"):
        call(changed(lambda x: np.round(9 * x)))
    with pytest.warns(UserWarning, match=r"1 of 8 genes are zero in all cells of .*: leave such genes out of all"):
        call(changed(lambda x: x * (np.arange(8) != 5)))
    small = {
        made: plain[made],
        **{name: _with_x(each, np.round(each.X)) for name, each in plain.items() if name != made},
    }
    if table in ("generator_disentanglement", "realism", "prediction"):
        message = rf"these are counts: .*; and these have fractions, .*: {made} \(up to \d.\d+\); on two scales"
        with pytest.warns(UserWarning, match=message):
            call(small)
    if table == "generator_disentanglement":  # copies have the factors of what they are copies of
        return
    cells[made].X[:9] = cells[truth].X[9:18]
    name = NAMES.get((table, truth), truth)
    with pytest.warns(UserWarning, match=rf"9 of \d+ cells of {made} are cells of {name}, number for number"):
        call(cells)


def test_few_silent_genes_are_ordinary(cells):
    """One of 20 is; one more is not."""
    silent = {
        name: AnnData(np.hstack([cells[name].X, cells[name].X + 1, np.zeros((240, 1)), cells[name].X[:, :3] + 2]))
        for name in ("real", "generated")
    }
    realism(**silent, **FAST)
    for each in silent.values():
        each.X[:, 0] = 0
    message = r"2 of 20 genes are zero in all cells of real, generated, .*, as real\[:, seen\] of seen = (.*), where"
    with pytest.warns(UserWarning, match=message) as warned:
        realism(**silent, **FAST)
    code = re.search(message, str(warned[0].message))[1]
    seen = eval(code, {"np": np, "matrices": [each.X for each in silent.values()]})
    assert list(np.flatnonzero(~seen)) == [0, 16]


@pytest.mark.parametrize("table", ["realism", "summary"])
def test_held_out_cells_that_are_training_cells(cells, table):
    held_out = anndata.concat([cells["real"][:9], AnnData(cells["real"].X[9:80] + 0.1)], index_unique="-")
    message = "9 of 80 cells of held_out are cells of real, number for number, so that a generator .* by heart"
    with pytest.warns(UserWarning, match=message):
        {"realism": realism, "summary": summary}[table](cells["real"], cells["generated"], held_out=held_out, **FAST)


@pytest.mark.parametrize("table", OF_LATENTS)
def test_latents_of_other_shapes_and_values(cells, refuse, table):
    name = {"generator_disentanglement": "generated", "summary": "real"}.get(table, "adata")
    latents = cells["generated" if table == "generator_disentanglement" else "real"].obsm
    latents["X_michigan"] = np.zeros((240, 2, 2))
    refuse(table, cells, rf"{name}.obsm\['X_michigan'\] has shape \(240, 2, 2\): give a matrix of 2 dimensions")
    latents["X_michigan"] = np.full((240, 2), "a")
    refuse(table, cells, rf"{name}.obsm\['X_michigan'\] holds <U1 values: store numbers")
    obs_names = cells["generated" if table == "generator_disentanglement" else "real"].obs_names
    latents["X_michigan"] = pd.DataFrame({"a": 1.0, "b": "x"}, index=obs_names)
    refuse(table, cells, rf"{name}.obsm\['X_michigan'\]\['b'\] holds (object|str) values: store numbers")
    del latents["X_michigan"]
    with pytest.raises(KeyError, match=rf"obsm\['X_michigan'\] is not in {name}, which has"):
        TABLES[table][0](cells)


@pytest.mark.parametrize("table", ["disentanglement", "generator_disentanglement", "realism", "summary"])
def test_columns_that_do_not_exist(cells, table):
    del cells["real"].obs["type"]
    name = NAMES.get((table, "real"), "real")
    with pytest.raises(
        KeyError, match=rf"{name}.obs\['type'\] does not exist; the columns are \['condition', 'time'\]"
    ):
        TABLES[table][0](cells | {"labels_key": "type"})


def test_infinite_values_of_cells_that_are_not_drawn(cells):
    cells["real"].obs["time"] = cells["real"].obs["time"].where(np.arange(240) != 7, np.inf)
    for seed in range(3):  # of 20 in 240 cells
        with pytest.raises(ValueError, match="factor 'time' has infinite values; set them to missing"):
            disentanglement(cells["real"], keys="time", n_cells=20, seed=seed)


def test_cells_that_are_alike_by_chance_are_no_copies(cells):
    """As those of counts in a few genes are, among real cells too."""
    few = {name: _with_x(adata, np.minimum(np.floor(adata.X), 1)) for name, adata in cells.items()}
    realism(few["real"], few["generated"], **FAST)
