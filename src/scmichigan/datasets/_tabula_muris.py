"""Tabula Muris: cells of 20 mouse tissues."""

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
    """Cells of 20 mouse tissues from Tabula Muris: sorted, sequenced with Smart-seq2, and with a cell type.

    This is version 2 of the data set on figshare, article 5829687. The paper has 41,965 cells of 64 types. It names neither
    the version nor whether it uses these cells or those in droplets, so numbers may differ. Continue with
    :func:`scanpy_recipe`.

    Parameters
    ----------
    tissues, folder
        One tissue or more, such as ``"Heart"`` or ``"Brain_Myeloid"``, all by default; as in :func:`pancreas`.

    Returns
    -------
    Raw counts in X (CSR, float32), without spike-ins. In obs: ``cell_type``, ``tissue``, ``mouse`` and ``total_counts``.

    Raises
    ------
    ImportError, ConnectionError, ValueError
        As in :func:`pancreas`; and if there is no such tissue.

    References
    ----------
    The Tabula Muris Consortium 2018, "Single-cell transcriptomics of 20 mouse organs creates a Tabula Muris".
    """
    annotations, counts = fetch(cache_folder(folder), ANNOTATIONS, COUNTS)
    with reading(annotations):
        labels = pd.read_csv(annotations, dtype=str).set_index("cell")
        labels = labels[labels["cell_ontology_class"].notna()]
    with reading(counts), ZipFile(counts) as archive:
        paths = [path for path in sorted(map(PurePosixPath, archive.namelist())) if path.name.endswith(_SUFFIX)]
        # macOS leaves files in archives whose names start with a dot.
        tables = {path.name.removesuffix(_SUFFIX): str(path) for path in paths if not path.name.startswith(".")}
        wanted = [tissues] if isinstance(tissues, str) else list(dict.fromkeys(tables if tissues is None else tissues))
        unknown = [tissue for tissue in wanted if tissue not in tables]
        if unknown or not wanted:
            raise ValueError(f"tissues is {tissues!r}: give some of {sorted(tables)}, or None for all")
        parts = [_read(archive, tables[tissue], labels.index) for tissue in wanted]
    if any(not np.array_equal(genes, parts[0][2]) for _, _, genes in parts):
        raise ValueError(f"the tables of {COUNTS.name} differ in their genes: remove the file, it is another one")
    genes = pd.Index(parts[0][2].astype(str))
    is_gene = ~genes.str.startswith(_SPIKE_INS)
    counts = sparse.vstack([part[0] for part in parts], "csr")[:, is_gene]
    cells = np.concatenate([part[1] for part in parts])
    of_cells = labels.loc[cells]
    obs = pd.DataFrame(index=pd.Index(cells.astype(str)))
    obs["cell_type"] = pd.Categorical(of_cells["cell_ontology_class"])
    obs["tissue"] = pd.Categorical(np.repeat(wanted, [len(part[1]) for part in parts]))
    obs["mouse"] = pd.Categorical(of_cells["mouse.id"])
    obs["total_counts"] = counts.sum(axis=1).A1.astype(np.float32)
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=genes[is_gene]))


def tabula_muris_heart(*, folder: Path | str | None = None) -> AnnData:
    """Cells of the heart from Tabula Muris: ``tabula_muris("Heart")``, see :func:`tabula_muris`.

    Parameters
    ----------
    folder
        As in :func:`tabula_muris`; the files are those of all tissues.
    """
    return tabula_muris("Heart", folder=folder)


def _read(archive: ZipFile, name: str, labelled: pd.Index) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Counts of the labelled cells of a tissue, their names and those of the genes; the file has genes in its rows."""
    blocks, genes = [], []
    with archive.open(name) as file:
        for block in pd.read_csv(file, index_col=0, chunksize=_ROWS_AT_A_TIME):
            block = block.loc[:, block.columns.isin(labelled)]
            blocks.append(sparse.csr_matrix(block.to_numpy(dtype=np.float32)))
            genes.append(block.index.to_numpy())
    return sparse.vstack(blocks).T.tocsr(), block.columns.to_numpy(), np.concatenate(genes)
