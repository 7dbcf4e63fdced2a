"""Every metric that stands in a table, one row each."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

DISENTANGLEMENT = "disentanglement"
GENERATOR = "generator disentanglement"
REALISM = "realism"
PREDICTION = "prediction"
ARITHMETIC = "latent arithmetic"
MODALITIES = "modalities"


@dataclass(frozen=True)
class MetricInfo:
    """A metric as tables show it.

    Attributes
    ----------
    metric
        Name in tables.
    questions
        What it answers; one table each.
    function
        Name of the function in ``scmichigan.metrics`` that computes it.
    low, high
        Ends of its range.
    best
        The value to wish for; NaN where that is the value of real cells, or depends on the factors.
    source
        Where it comes from.
    """

    metric: str
    questions: tuple[str, ...]
    function: str
    low: float
    high: float
    best: float
    source: str


_METRICS = (
    MetricInfo("MIG, aggregate posterior", (DISENTANGLEMENT,), "mutual_information_gap", 0, 1, 1, "Chen et al. 2018"),
    MetricInfo("MIG, nearest neighbours", (DISENTANGLEMENT, GENERATOR), "mutual_information_gap", 0, 1, 1, "Ross 2014"),
    MetricInfo("Spearman gap", (DISENTANGLEMENT, GENERATOR), "spearman_gap", 0, 1, 1, "Yu and Welch 2021"),
    MetricInfo("FactorVAE metric", (DISENTANGLEMENT,), "factor_vae_score", 0, 1, 1, "Kim and Mnih 2018"),
    MetricInfo("beta-VAE metric", (DISENTANGLEMENT,), "beta_vae_score", 0, 1, 1, "Higgins et al. 2017"),
    MetricInfo("DCI disentanglement", (DISENTANGLEMENT,), "dci", 0, 1, 1, "Eastwood and Williams 2018"),
    MetricInfo("DCI completeness", (DISENTANGLEMENT,), "dci", 0, 1, 1, "Eastwood and Williams 2018"),
    MetricInfo("DCI informativeness", (DISENTANGLEMENT,), "dci", 0, 1, 1, "Eastwood and Williams 2018"),
    MetricInfo("SAP", (DISENTANGLEMENT,), "sap", 0, 1, np.nan, "Kumar et al. 2018"),
    MetricInfo(
        "total correlation, aggregate posterior",
        (DISENTANGLEMENT,),
        "total_correlation",
        0,
        np.inf,
        0,
        "Chen et al. 2018",
    ),
    MetricInfo(
        "total correlation, Gaussian", (DISENTANGLEMENT,), "total_correlation", 0, np.inf, 0, "Locatello et al. 2019"
    ),
    MetricInfo("random forest error, components", (REALISM,), "discriminate", 0, 1, 0.5, "Marouf et al. 2020"),
    MetricInfo("random forest error, genes", (REALISM,), "discriminate", 0, 1, 0.5, "Marouf et al. 2020"),
    MetricInfo("random forest AUROC, components", (REALISM,), "discriminate", 0, 1, 0.5, "Marouf et al. 2020"),
    MetricInfo("random forest AUROC, genes", (REALISM, PREDICTION), "discriminate", 0, 1, 0.5, "Marouf et al. 2020"),
    MetricInfo("E-distance", (REALISM, PREDICTION), "e_distance", 0, np.inf, 0, "Székely and Rizzo 2013"),
    MetricInfo("MMD", (REALISM, PREDICTION), "mmd", 0, 2, 0, "Gretton et al. 2012"),
    MetricInfo("Fréchet distance", (REALISM,), "frechet_distance", 0, np.inf, 0, "Heusel et al. 2017"),
    MetricInfo("inception score", (REALISM,), "inception_score", 1, np.inf, np.nan, "Salimans et al. 2016"),
    MetricInfo("R2 of means", (REALISM, PREDICTION), "gene_agreement", -np.inf, 1, 1, "coefficient of determination"),
    MetricInfo(
        "R2 of variances", (REALISM, PREDICTION), "gene_agreement", -np.inf, 1, 1, "coefficient of determination"
    ),
    MetricInfo("R2 of zero fractions", (REALISM,), "gene_agreement", -np.inf, 1, 1, "coefficient of determination"),
    MetricInfo("zero fraction", (REALISM,), "gene_agreement", 0, 1, np.nan, "share of exact zeros"),
    MetricInfo("gene-gene correlation", (REALISM,), "gene_correlation_agreement", -1, 1, 1, "Pearson over gene pairs"),
    MetricInfo(
        "correlations across modalities",
        (MODALITIES,),
        "cross_correlation_agreement",
        -1,
        1,
        1,
        "Pearson over pairs of features",
    ),
    MetricInfo("correlation of mean change", (PREDICTION,), "mean_change_correlation", -1, 1, 1, "Pearson over genes"),
    MetricInfo(
        "correlation of mean change, top 20", (PREDICTION,), "mean_change_correlation", -1, 1, 1, "Pearson over genes"
    ),
    MetricInfo(
        "correlation of mean change, top 100", (PREDICTION,), "mean_change_correlation", -1, 1, 1, "Pearson over genes"
    ),
    MetricInfo("slope of change", (PREDICTION,), "change_slope", -np.inf, np.inf, 1, "least squares over genes"),
    MetricInfo("DE overlap, top 100", (PREDICTION,), "de_overlap", 0, 1, 1, "share of Welch's top genes"),
    MetricInfo("DE direction, top 100", (PREDICTION,), "de_direction", 0, 1, 1, "share of Welch's top genes"),
    MetricInfo("discrimination rank", (PREDICTION,), "discrimination_rank", 0, 1, 1, "Wu et al. 2024"),
    MetricInfo("delta entropy", (ARITHMETIC,), "delta_entropy", -np.inf, np.inf, 0, "Yu and Welch 2021"),
)


def registry() -> pd.DataFrame:
    """All metrics that stand in tables, with their ranges.

    Returns
    -------
    One row for each question and metric. Columns: ``function``, its name in ``scmichigan.metrics``; ``low`` and
    ``high``, the ends of its range; ``best``, the value to wish for; and ``source``. ``best`` is NaN where it is the
    value of real cells, and for SAP, whose largest value is that of the factors: the tables have it.

    Examples
    --------
    >>> mg.metrics.registry().loc["prediction"]
    """
    rows = [asdict(info) for info in _METRICS]
    table = pd.DataFrame(rows).explode("questions").rename(columns={"questions": "question"})
    order = list(dict.fromkeys(table["question"]))
    return table.set_index(["question", "metric"]).loc[order]
