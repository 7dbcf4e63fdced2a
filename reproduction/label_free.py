"""Betas beside each other (Figure S14), and choosing one, and a seed, without the factors, which is no part of the paper.

    python reproduction/label_free.py --real ../shared/data [--betas 0 3 10 50] [--seeds 0 1 2 3 4] [--epochs 200]

Latents of the cells of Table 1 are fitted with each beta (0 is the VAE) and seed, as `tables.py` does and in the same
folder, and each is given scores that know no factor: the agreement with the other seeds of its beta (UDR), and the
total correlation. The second table says for each score how its order of latents goes with that of the mutual information gap
(MIG), and the gap of the beta and of the single latent that it would choose, beside the mean over seeds of the default beta
and the best there is. FOLDER/label_free.csv has a row for each latent, and the plot beside it the gap and the scores of
each beta; both are of the last call, as UDR depends on the seeds given. (The paper has betas 0, 10 and 50.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from _runs import markdown, quiet
from tables import HERE, TABLES, fitted_latent, load

from scmichigan import metrics

TABLE = TABLES[1]
SCORES = {"UDR": 1, "total correlation": -1}
_ACTIVE = 0.9  # of the variance of the prior, at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--real",
        type=Path,
        required=True,
        help="folder with files of the original simulators: the same cells for all seeds",
    )
    parser.add_argument("--data", nargs="+", choices=TABLE.betas, default=list(TABLE.betas))
    parser.add_argument("--betas", type=int, nargs="+", default=[0, 3, 10, 50])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.quick = False
    if len(args.seeds) < 2:
        parser.error("give two seeds or more: the agreement of trainings is one of the scores")
    defaults = {TABLE.betas[data] for data in args.data}
    if not defaults <= set(args.betas):
        parser.error(f"betas lack the default one, {sorted(defaults)}, which the others are compared with")
    quiet()

    results = pd.concat([scored(args, data, beta) for beta in args.betas for data in args.data], ignore_index=True)
    results.to_csv(args.folder / "label_free.csv", index=False)
    draw(results, args.folder / "label_free.png")
    by_beta = (
        results.groupby(["data", "beta"], sort=False)[["MIG", *SCORES, "active latents"]].agg(["mean", "std"]).round(3)
    )
    by_beta.columns = [" ".join(column) for column in by_beta.columns]
    print(markdown(by_beta.reset_index()))
    print("\n" + markdown(pd.DataFrame([choice(*group) for group in results.groupby("data", sort=False)])))


def scored(args: argparse.Namespace, data: str, beta: float) -> pd.DataFrame:
    """Scores of the latents of all seeds of a beta."""
    means, variances, rows = [], [], []
    for seed in args.seeds:
        mean, var, _ = fitted_latent(args, data, "beta-TCVAE" if beta else "VAE", TABLE.n_latent, beta, seed)
        factors = load(data, args.real, False, seed).obs[TABLE.factors]
        means.append(mean)
        variances.append(var)
        rows.append(
            {
                "data": data,
                "beta": beta,
                "seed": seed,
                "MIG": metrics.mutual_information_gap(metrics.mutual_information(mean, factors, var=var, seed=seed)),
                "total correlation": metrics.total_correlation(mean, var, seed=seed),
                "active latents": int((var.mean(axis=0) < _ACTIVE).sum()),
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows).assign(UDR=metrics.udr_score(means, variances))


def choice(data: str, results: pd.DataFrame) -> dict[str, object]:
    """What the scores would choose, and what not choosing has."""
    mean = results.groupby("beta")["MIG"].mean()
    default = results.query("beta == @TABLE.betas[@data]").set_index("seed")
    row = {
        "data": data,
        "MIG, default beta": f"{default['MIG'].mean():.3f}",
        "MIG, best beta": f"{mean.max():.3f} (beta {mean.idxmax()})",
        "MIG, best seed of the default beta": f"{default['MIG'].max():.3f} (seed {default['MIG'].idxmax()})",
    }
    for score, sign in SCORES.items():
        wanted = sign * results[score]
        beta, seed = wanted.groupby(results["beta"]).mean().idxmax(), (sign * default[score]).idxmax()
        # The agreement of two trainings is that of either.
        tells = score != "UDR" or len(default) > 2
        row |= {
            f"{score}, Spearman with MIG": f"{wanted.corr(results['MIG'], method='spearman'):.2f}",
            f"MIG, beta by {score}": f"{mean[beta]:.3f} (beta {beta})",
            f"MIG, seed by {score}": f"{default['MIG'][seed]:.3f} (seed {seed})" if tells else "",
        }
    return row


def draw(results: pd.DataFrame, path: Path) -> None:
    """The gap and the scores of each latent, a column of panels each and a row for each data set."""
    sets, shown = results["data"].unique(), ["MIG", *SCORES]
    fig, axes = plt.subplots(
        len(sets), len(shown), figsize=(9, 2.2 * len(sets) + 0.5), sharex=True, squeeze=False, layout="constrained"
    )
    betas = sorted(results["beta"].unique())
    for row, data in zip(axes, sets, strict=True):
        latents = results.query("data == @data")
        for ax, measure in zip(row, shown, strict=True):
            ax.plot(latents["beta"].map(betas.index), latents[measure], "o", alpha=0.6)
            ax.set(
                xticks=range(len(betas)),
                xticklabels=betas,
                ylim=(0, 1) if measure != "total correlation" else (0, None),
                title=measure,
            )
        row[0].set_ylabel(data)
    for ax in axes[-1]:
        ax.set_xlabel("beta")
    fig.savefig(path, dpi=150)
    plt.close(fig)


if __name__ == "__main__":
    main()
