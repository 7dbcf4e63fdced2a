"""Loaders of real data sets, on small files of the same layout that a local server gives."""

import gzip
import hashlib
import logging
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scmichigan import datasets
from scmichigan.datasets import _download, _pancreas, _sciplex, _tabula_muris

pytest.importorskip("pooch")

TISSUES = {"Heart": 4, "Brain_Myeloid": 3}
GENES = ["Gnai3", "Pbsn", "ERCC-00002", "Cdc45"]


class _Server:
    """Files of a folder, which paths it was asked for, and how many requests are to fail first."""

    def __init__(self, folder):
        self.folder, self.asked, self.n_failures = folder, [], 0
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                if server.n_failures > 0:
                    server.n_failures -= 1
                    self.send_error(503)
                    return
                super().do_GET()

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def file(self, like, *, sha256=None):
        return _download.RemoteFile(like.name, f"{self.url}/{like.name}", sha256)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    server = _Server(tmp_path / "served")
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def _serve(server, monkeypatch, module, names, *, hashed=False):
    for name in names:
        file = getattr(module, name)
        digest = hashlib.sha256((server.folder / file.name).read_bytes()).hexdigest() if hashed else None
        monkeypatch.setattr(module, name, server.file(file, sha256=digest))


@pytest.fixture
def mouse(server, monkeypatch):
    """Counts of each tissue as (cells, genes); cell 1 of each has no type."""
    rng, counts, annotations = np.random.default_rng(0), {}, []
    with ZipFile(server.folder / _tabula_muris.COUNTS.name, "w") as archive:
        archive.writestr("FACS/", "")
        for tissue, n_cells in TISSUES.items():
            cells = [f"{tissue}.{i}.1_M" for i in range(n_cells)]
            counts[tissue] = pd.DataFrame(rng.integers(0, 9, (n_cells, 4)), index=cells, columns=GENES)
            archive.writestr(f"FACS/{tissue}-counts.csv", counts[tissue].T.to_csv())
            archive.writestr(f"__MACOSX/FACS/._{tissue}-counts.csv", b"\x00\x05\x16\x07")
            annotations += [
                {"cell": cell, "cell_ontology_class": None if i == 1 else f"type {i}", "mouse.id": "3_8_M"}
                for i, cell in enumerate(cells)
            ]
    pd.DataFrame(annotations[::-1]).to_csv(server.folder / _tabula_muris.ANNOTATIONS.name, index=False)
    _serve(server, monkeypatch, _tabula_muris, ["COUNTS", "ANNOTATIONS"])
    return counts


@pytest.mark.parametrize("rows_at_a_time", [3, 2000])
def test_tabula_muris(mouse, folder, monkeypatch, rows_at_a_time):
    monkeypatch.setattr(_tabula_muris, "_ROWS_AT_A_TIME", rows_at_a_time)
    adata = datasets.tabula_muris(folder=folder)
    expected = pd.concat([mouse["Brain_Myeloid"], mouse["Heart"]]).drop(columns="ERCC-00002")
    expected = expected.drop(index=["Heart.1.1_M", "Brain_Myeloid.1.1_M"])
    pd.testing.assert_frame_equal(adata.to_df(), expected, check_dtype=False)
    assert adata.X.dtype == np.float32
    assert sp.issparse(adata.X)
    np.testing.assert_array_equal(adata.obs["total_counts"], expected.sum(axis=1))
    assert list(adata.obs["tissue"]) == ["Brain_Myeloid"] * 2 + ["Heart"] * 3
    assert list(adata.obs["cell_type"]) == ["type 0", "type 2", "type 0", "type 2", "type 3"]
    assert (adata.obs["mouse"] == "3_8_M").all()


def test_heart(mouse, folder):
    adata = datasets.tabula_muris_heart(folder=folder)
    assert adata.n_obs == 3
    assert (adata.obs["tissue"] == "Heart").all()
    with pytest.raises(ValueError, match=r"tissues is \['Hart'\]: give some of \['Brain_Myeloid', 'Heart'\]"):
        datasets.tabula_muris(["Hart"], folder=folder)


def test_files_are_downloaded_once_and_their_hash_is_told(mouse, server, folder, caplog):
    with caplog.at_level(logging.INFO, "scmichigan"):
        datasets.tabula_muris_heart(folder=folder)
    asked = list(server.asked)
    digest = hashlib.sha256((server.folder / _tabula_muris.COUNTS.name).read_bytes()).hexdigest()
    assert (
        f"{_tabula_muris.COUNTS.name} from {server.url}/{_tabula_muris.COUNTS.name} has SHA-256 {digest}" in caplog.text
    )
    datasets.tabula_muris_heart(folder=folder)
    assert server.asked == asked
    assert len(asked) == 2


def test_a_failed_download_is_tried_again(mouse, server, folder):
    server.n_failures = 1
    assert datasets.tabula_muris_heart(folder=folder).n_obs == 3
    assert len(server.asked) == 3


def test_without_a_connection_the_error_says_what_to_put_where(mouse, server, folder, monkeypatch):
    monkeypatch.setattr(_download, "_N_RETRIES", 0)
    server.http.shutdown()
    server.http.server_close()
    name = _tabula_muris.ANNOTATIONS.name
    with pytest.raises(ConnectionError) as caught:
        datasets.tabula_muris_heart(folder=folder)
    message = str(caught.value)
    assert f"{name} could not be downloaded from {server.url}/{name}" in message
    assert f"put it to {folder / name}" in message
    other = _tabula_muris.COUNTS
    assert f"{other.url} is needed, too: put it to {folder / other.name}" in message
    for file in (_tabula_muris.ANNOTATIONS, _tabula_muris.COUNTS):  # which is what the reader does then
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes((server.folder / file.name).read_bytes())
    assert datasets.tabula_muris_heart(folder=folder).n_obs == 3


def test_a_folder_that_cannot_be_made_is_no_failed_download(mouse, folder):
    folder.write_text("a file")
    with pytest.raises(FileExistsError, match=re.escape(str(folder))):
        datasets.tabula_muris_heart(folder=folder)


def test_another_file_than_expected_is_refused(server, folder, monkeypatch):
    monkeypatch.setattr(_download, "_N_RETRIES", 0)
    (server.folder / "cells.csv").write_text("a login page")
    expected = hashlib.sha256(b"cells").hexdigest()
    file = server.file(_download.RemoteFile("cells.csv", ""), sha256=expected)
    with pytest.raises(ValueError, match=f"is not the cells.csv with SHA-256 {expected}: it was changed, or a proxy"):
        _download.fetch(folder, file)
    assert not (folder / "cells.csv").exists()
    (server.folder / "cells.csv").write_text("cells")
    assert _download.fetch(folder, file)[0].read_text() == "cells"


@pytest.mark.parametrize(
    ("load", "name", "content"),
    [
        (datasets.pancreas, _pancreas.FILE.name, b"<html>a login page</html>"),
        (datasets.pancreas, _pancreas.FILE.name, b""),
        (datasets.tabula_muris, _tabula_muris.ANNOTATIONS.name, b"<html>a login page</html>"),
        (datasets.tabula_muris, _tabula_muris.COUNTS.name, b"<html>a login page</html>"),
        (datasets.sciplex, "sciplex_one_drug_a_pathway.h5ad", b"half a fi"),
    ],
)
def test_a_wrong_file_in_the_folder_is_named(mouse, folder, load, name, content):
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{re.escape(str(folder / name))} is not the file that was expected .*: remove it"
    ):
        load(folder=folder)


def test_a_wrong_file_without_a_connection(server, folder, monkeypatch):
    monkeypatch.setattr(_download, "_N_RETRIES", 0)
    file = server.file(_download.RemoteFile("cells.csv", ""), sha256=hashlib.sha256(b"cells").hexdigest())
    server.http.shutdown()
    server.http.server_close()
    folder.mkdir()
    (folder / "cells.csv").write_text("others")
    with pytest.raises(ConnectionError, match="the one that is there has another SHA-256 than"):
        _download.fetch(folder, file)


def _labels():
    """Two drugs for each of three pathways, one of which K562 does not have, and a vehicle."""
    rows = []
    for cell_type in ("A549", "K562", "MCF7"):
        for pathway, drugs in {"JAK/STAT": ("S2", "S1"), "Cell Cycle": ("S3", "S4"), "Others": ("S5", "S6")}.items():
            if (cell_type, pathway) == ("K562", "Others"):
                continue
            rows += [(cell_type, pathway, drug, False) for drug in drugs for _ in range(3 if drug == "S4" else 2)]
        rows.append((cell_type, "Vehicle", "S0000", True))
    labels = pd.DataFrame(rows, columns=["cell_type", "pathway", "treatment", "vehicle"])
    labels.insert(0, "cell", [f"cell_{i}" for i in range(len(labels))])
    return labels.assign(product_name="Drug (" + labels["treatment"] + ")", dose=10.0, replicate="rep1")


def test_the_largest_drug_of_each_pathway_that_all_cell_types_have():
    labels = _labels()
    assert _sciplex.largest_drugs(labels[~labels["vehicle"]]) == ["S4", "S1"]


@pytest.mark.parametrize("triples_at_a_time", [7, 5_000_000])
def test_sciplex(server, folder, monkeypatch, triples_at_a_time):
    labels = _labels()
    unknown = pd.DataFrame({"cell": ["cell_x"], "vehicle": [False]})  # the hash of some cells was not read
    written = pd.concat([labels, unknown])
    order = np.random.default_rng(0).permutation(written["cell"])
    genes = pd.DataFrame(
        {"id": ["ENSG1.1", "ENSMUSG1.1", "ENSG2.4"], "gene_short_name": ["TP53", "Trp53", "MYC"]},
    )
    counts = np.random.default_rng(1).integers(0, 3, (len(order), 3))
    cell, gene = np.nonzero(counts)
    triples = pd.DataFrame({"gene": gene + 1, "cell": cell + 1, "count": counts[cell, gene]})
    tables = {
        "LABELS": written.to_csv(sep=" ", index=False),
        "CELLS": pd.DataFrame({"cell": order, "sample": "Chem3"}).to_csv(sep="\t", index=False, header=False),
        "GENES": genes.to_csv(sep=" ", index=False),
        "COUNTS": triples.to_csv(sep="\t", index=False, header=False),
    }
    for name, text in tables.items():
        (server.folder / getattr(_sciplex, name).name).write_bytes(gzip.compress(text.encode()))
    _serve(server, monkeypatch, _sciplex, tables, hashed=True)
    monkeypatch.setattr(_sciplex, "_TRIPLES_AT_A_TIME", triples_at_a_time)
    adata = datasets.sciplex(folder=folder)
    assert set(adata.obs["condition"]) == {"S1", "S4"}
    assert adata.n_obs == 3 * (2 + 3)
    expected = pd.DataFrame(counts[:, [0, 2]], index=order, columns=["ENSG1.1", "ENSG2.4"]).loc[adata.obs_names]
    pd.testing.assert_frame_equal(adata.to_df(), expected, check_dtype=False, check_names=False)
    of_cells = labels.set_index("cell").loc[adata.obs_names]
    for ours, theirs in {"cell_type": "cell_type", "pathway": "pathway", "drug": "product_name"}.items():
        assert (adata.obs[ours].astype(str) == of_cells[theirs]).all()
    assert list(adata.var["symbol"]) == ["TP53", "MYC"]
    np.testing.assert_array_equal(adata.obs["total_counts"], expected.sum(axis=1))
    n_asked = len(server.asked)
    (folder / _sciplex.COUNTS.name).unlink()  # what came out is kept, too
    assert datasets.sciplex(folder=folder).shape == adata.shape
    assert len(server.asked) == n_asked


def test_pancreas(server, folder, monkeypatch):
    rng = np.random.default_rng(0)
    spliced, unspliced = (sp.csr_matrix(rng.poisson(1.0, (6, 5)).astype(np.float64)) for _ in range(2))
    cells = AnnData(spliced, layers={"spliced": spliced, "unspliced": unspliced})
    cells.obs["clusters"] = cells.obs["clusters_coarse"] = pd.Categorical(["Ductal", "Alpha"] * 3)
    cells.obs[["S_score", "G2M_score"]] = rng.normal(size=(6, 2))
    cells.write_h5ad(server.folder / _pancreas.FILE.name)
    _serve(server, monkeypatch, _pancreas, ["FILE"])
    adata = datasets.pancreas(folder=folder)
    np.testing.assert_array_equal(adata.X.toarray(), spliced.toarray())
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.obs["total_counts"], spliced.toarray().sum(axis=1))
    assert list(adata.obs["clusters"]) == ["Ductal", "Alpha"] * 3
    del cells.layers["unspliced"]
    cells.write_h5ad(folder / _pancreas.FILE.name)
    with pytest.raises(ValueError, match="is not the file that was expected .*unspliced"):
        datasets.pancreas(folder=folder)


def test_without_pooch_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match="pip install pooch"):
        datasets.pancreas(folder=folder)
