"""sci-Plex: three cell lines under many drugs."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from scipy import sparse

from ._download import RemoteFile, cache_folder, fetch, reading

_FOLDER = "https://ftp.ncbi.nlm.nih.gov/geo/samples/GSM4150nnn/GSM4150378/suppl/"
_SCREEN = "GSM4150378_sciPlex3_A549_MCF7_K562_screen_"


def _file(name: str, sha256: str) -> RemoteFile:
    return RemoteFile(name, f"{_FOLDER}{name}", sha256)


COUNTS = _file(f"{_SCREEN}UMI.count.matrix.gz", "7d632716aa6ed0fc1780996003d0abc440ff78340609bceaaa4c8ade9345d00a")
CELLS = _file(f"{_SCREEN}cell.annotations.txt.gz", "5db11591747a49f07ceb90a070971d60816591911f1022171adba7d8d032f379")
GENES = _file(f"{_SCREEN}gene.annotations.txt.gz", "fbe43028cfb75dc5ebf383cbbbb100da6b51e7be8e2e74f6354f7c59b9fda7c2")
LABELS = _file("GSM4150378_sciPlex3_pData.txt.gz", "860ba5c21846e2cfe97c39c805895982ef9db4b108cdf8b841a4a91be65024c2")
_COLUMNS = ["cell_type", "treatment", "product_name", "pathway", "dose", "replicate"]
_RENAMED = {"treatment": "condition", "product_name": "drug"}
_TRIPLES_AT_A_TIME = 5_000_000


def sciplex(*, folder: Path | str | None = None) -> AnnData:
    """Three cancer cell lines under many drugs: of each pathway the drug with the most cells, as in the paper.

    Pathways are those that all three cell lines have: 18 in the paper, which has 64,050 cells. Untreated cells are left
    out. Continue with :func:`scanpy_recipe`.

    Parameters
    ----------
    folder
        Folder of downloaded files; the user's cache by default. They have 3.2 GB and take minutes to read. The result is
        kept there too, and is read at once the next time.

    Returns
    -------
    Raw counts of human genes in X (CSR, float32), of cells of A549, K562 and MCF7. In obs: ``cell_type``, ``condition``
    (the drug's catalogue number, such as ``"S7259"``), ``drug``, ``pathway``, ``dose`` in nM, ``replicate`` and
    ``total_counts``.

    Raises
    ------
    ImportError, ConnectionError, ValueError
        As in :func:`pancreas`.

    References
    ----------
    Srivatsan et al. 2020, doi:10.1126/science.aax6234; Yu and Welch 2021, Methods, "Real scRNA-seq datasets".
    """
    folder = cache_folder(folder)
    kept = folder / "sciplex_one_drug_a_pathway.h5ad"
    if not kept.exists():
        adata = _read(folder)
        part = kept.with_suffix(".part")
        adata.write_h5ad(part)
        part.replace(kept)
    with reading(kept):
        return read_h5ad(kept)


def largest_drugs(labels: pd.DataFrame) -> list[str]:
    """Treatment with the most cells, of each pathway that all cell types have; of equal ones the first by name.

    ``labels`` has a row for each treated cell, and the columns "cell_type", "pathway" and "treatment".
    """
    n_types = labels.groupby("pathway", observed=True)["cell_type"].nunique()
    common = n_types.index[n_types == labels["cell_type"].nunique()]
    sizes = labels[labels["pathway"].isin(common)].groupby(["pathway", "treatment"], observed=True).size()
    return [treatment for _, treatment in sizes.groupby(level="pathway").idxmax()]


def _read(folder: Path) -> AnnData:
    labels, cells, genes, triples = fetch(folder, LABELS, CELLS, GENES, COUNTS)
    labels = pd.read_csv(labels, sep=" ", index_col="cell", low_memory=False)
    order = pd.read_csv(cells, sep="\t", header=None)[0]
    genes = pd.read_csv(genes, sep=r"\s+")
    labels = labels.loc[order]
    treated = (labels["cell_type"].notna() & labels["treatment"].notna() & ~labels["vehicle"].astype(bool)).to_numpy()
    chosen = treated & labels["treatment"].isin(largest_drugs(labels[treated])).to_numpy()
    is_human = genes["id"].str.startswith("ENSG").to_numpy()
    counts = _counts(triples, chosen, is_human)
    obs = labels.loc[chosen, _COLUMNS].rename(columns=_RENAMED).rename_axis(None)
    for column in obs.columns.drop("dose"):
        obs[column] = pd.Categorical(obs[column].astype(str))
    obs["total_counts"] = counts.sum(axis=1).A1.astype(np.float32)
    var = pd.DataFrame({"symbol": genes.loc[is_human, "gene_short_name"].to_numpy()})
    return AnnData(counts, obs=obs, var=var.set_index(pd.Index(genes.loc[is_human, "id"].astype(str), name=None)))


def _counts(path: Path, cells: np.ndarray, genes: np.ndarray) -> sparse.csr_matrix:
    """Counts of the chosen cells and genes, from triples of gene, cell (from 1) and count, block by block."""
    row_of = np.where(cells, np.cumsum(cells) - 1, -1).astype(np.int32)
    column_of = np.where(genes, np.cumsum(genes) - 1, -1).astype(np.int32)
    blocks = []
    for block in pd.read_csv(path, sep="\t", header=None, dtype=np.int32, chunksize=_TRIPLES_AT_A_TIME):
        gene, cell, count = block.to_numpy().T
        row, column = row_of[cell - 1], column_of[gene - 1]
        here = (row >= 0) & (column >= 0)
        blocks.append((row[here], column[here], count[here].astype(np.float32)))
    row, column, count = map(np.concatenate, zip(*blocks, strict=True))
    return sparse.csr_matrix((count, (row, column)), shape=(int(cells.sum()), int(genes.sum())))
