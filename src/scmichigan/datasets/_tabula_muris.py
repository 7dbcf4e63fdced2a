"""Tabula Muris: cells of 20 mouse tissues.

Legend: n cells, g genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._download import RemoteFile, cache_folder, fetch, reading

COUNTS = RemoteFile("tabula_muris_FACS.zip", "https://ndownloader.figshare.com/files/10700143")
ANNOTATIONS = RemoteFile("tabula_muris_annotations_facs.csv", "https://ndownloader.figshare.com/files/13088129")
_SUFFIX = "-counts.csv"
_SPIKE_INS = "ERCC-"
_ROWS_AT_A_TIME = 2000


def tabula_muris(tissues: str | Sequence[str] | None = None, *, folder: Path | str | None = None) -> AnnData:
    """Cells of Tabula Muris with a cell type: Smart-seq2 of sorted cells, 20 mouse tissues.

    Parameters
    ----------
    tissues
        One tissue or more, such as ``"Heart"`` or ``"Brain_Myeloid"``; all by default.
    folder
        Where files are kept; the user's cache by default.

    Returns
    -------
    Raw counts in X (CSR, float32), without spike-ins. In obs: ``cell_type``, ``tissue``, ``mouse`` and ``total_counts``.

    Raises
    ------
    ImportError
        If pooch is not installed.
    ConnectionError
        If a file cannot be downloaded; the message says what to put where by hand.
    ValueError
        If there is no such tissue, or a file is not the one that was expected.

    Notes
    -----
    This is version 2 of the set on figshare, article 5829687. The paper has 41,965 cells of 64 types; it names neither the
    version nor whether cells are these or those in droplets, so that numbers may differ. Follow with
    :func:`scanpy_recipe`.

    References
    ----------
    The Tabula Muris Consortium 2018, "Single-cell transcriptomics of 20 mouse organs creates a Tabula Muris".
    """
    annotations, counts = fetch(cache_folder(folder), ANNOTATIONS, COUNTS)
    with reading(annotations):
        labels = pd.read_csv(annotations, dtype=str).set_index("cell")
        labels = labels[labels["cell_ontology_class"].notna()]
    with reading(counts), ZipFile(counts) as archive:
        tables = {path.name.removesuffix(_SUFFIX): str(path) for path in _tables(archive)}
        wanted = list(tables) if tissues is None else [tissues] if isinstance(tissues, str) else list(tissues)
        wanted = list(dict.fromkeys(wanted))
        unknown = [tissue for tissue in wanted if tissue not in tables]
        if unknown or not wanted:
            raise ValueError(f"tissues is {tissues!r}: give some of {sorted(tables)}, or None for all")
        parts = [_read(archive, tables[tissue], labels.index) for tissue in wanted]
    if any(not np.array_equal(genes, parts[0][2]) for _, _, genes in parts):
        raise ValueError(f"the tables of {COUNTS.name} differ in their genes: remove the file, it is another one")
    counts, cells, genes = sparse.vstack([part[0] for part in parts], "csr"), *(parts[0][1:])
    cells = np.concatenate([part[1] for part in parts])
    is_gene = ~pd.Index(genes).str.startswith(_SPIKE_INS)
    counts = counts[:, is_gene]
    of_cells = labels.loc[cells]
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(of_cells["cell_ontology_class"]),
            "tissue": pd.Categorical(np.repeat(wanted, [len(part[1]) for part in parts])),
            "mouse": pd.Categorical(of_cells["mouse.id"]),
            "total_counts": counts.sum(axis=1).A1.astype(np.float32),
        },
        index=pd.Index(cells.astype(str)),
    )
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.Index(genes[is_gene].astype(str))))


def tabula_muris_heart(*, folder: Path | str | None = None) -> AnnData:
    """Cells of the heart from :func:`tabula_muris`.

    Parameters
    ----------
    folder
        Where files are kept; the user's cache by default. The files are those of all tissues.

    Returns
    -------
    As from :func:`tabula_muris`.

    Raises
    ------
    ImportError, ConnectionError
        As in :func:`tabula_muris`.

    References
    ----------
    The Tabula Muris Consortium 2018, "Single-cell transcriptomics of 20 mouse organs creates a Tabula Muris".
    """
    return tabula_muris("Heart", folder=folder)


def _tables(archive: ZipFile) -> list[PurePosixPath]:
    """Tables of counts, without what macOS leaves in archives."""
    paths = [PurePosixPath(name) for name in archive.namelist()]
    return sorted(path for path in paths if path.name.endswith(_SUFFIX) and not path.name.startswith("."))


def _read(archive: ZipFile, name: str, labelled: pd.Index) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Counts of the labelled cells of a tissue, their names and those of the genes; the file has genes in its rows."""
    blocks, genes = [], []
    with archive.open(name) as file:
        for block in pd.read_csv(file, index_col=0, chunksize=_ROWS_AT_A_TIME):
            block = block.loc[:, block.columns.isin(labelled)]
            blocks.append(sparse.csr_matrix(block.to_numpy(dtype=np.float32)))
            genes.append(block.index.to_numpy())
    return sparse.vstack(blocks).T.tocsr(), block.columns.to_numpy(), np.concatenate(genes)
