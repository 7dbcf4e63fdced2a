"""Routes that the paper tried and left: variational and adversarial training at once, and mutual information in place of a condition.

    python reproduction/ablations.py [--data pancreas_endocrinogenesis] [--seeds 0 1 2] [--epochs 200] [--folder FOLDER]

joint         A beta-TCVAE whose decoder is trained against a critic at the same time (Larsen et al. 2016, "Autoencoding beyond
              pixels using a learned similarity metric"): to its loss comes a Wasserstein critic's, of cells decoded from
              posteriors and from the prior, with the weight in brackets.
reverse KL    As MichiGAN, but its critic does not see the latent. The encoder of the beta-TCVAE, which is left as it is, infers
              the latent of generated cells instead, and the generator is trained to make that likely, with the weight in brackets
              (Lee et al. 2020, "High-fidelity synthesis with disentangled representation", ID-GAN).

Beside them are the beta-TCVAE and the published MichiGAN, which both start from. Half of the cells are trained on, and the
other half is what generated cells are compared with. "Spread" is the standard deviation of the energy distance over the
second half of ten looks during training. Results are in FOLDER/ablations.csv; a run that is done is not run again.
Without a seed (--seeds with nothing after it), nothing is run and the results so far are shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import scvi
import torch
from _runs import is_kept, keep, kept, markdown, mean_and_spread, obeyed, quiet
from anndata import AnnData
from figures_2_4 import SETS, load

from scmichigan import BetaTCVAE, MichiGAN, losses, metrics
from scmichigan.model._presets import Row
from scmichigan.nn import Critic

HERE = Path(__file__).parent
N_LOOKS = 10
METHODS = (
    "beta-TCVAE",
    "joint (10)",
    "joint (100)",
    "joint (1000)",
    "MichiGAN",
    "reverse KL (0.1)",
    "reverse KL (1)",
    "reverse KL (10)",
)
MEASURES = (
    "E-distance",
    "spread",
    "random forest error",
    "inception score",
    "total correlation",
    "obedience",
    "obedience, real cells",
)
BATCH_SIZE, N_CRITIC = 32, 5


class ReverseKL(MichiGAN):
    """MichiGAN with the encoder's likelihood of the latent in place of the critic's condition."""

    row = Row(latent="stored", critic_head=None, information="generated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="pancreas_endocrinogenesis")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    args = parser.parse_args()
    quiet()

    path = args.folder / "ablations.csv"
    for seed in args.seeds:
        runs = [
            {"data": args.data, "method": method, "epochs": args.epochs, "trees": args.trees, "seed": seed}
            for method in args.methods
        ]
        runs = [run for run in runs if not is_kept(kept(path), run)]
        if runs:
            train, held_out = load(args.data, seed)
            vae = trained_vae(args, train, seed)
        for run in runs:
            print(f"{run['method']} on {args.data}, seed {seed}", flush=True)
            values = judged(args, run["method"], vae, held_out, seed)
            keep(path, run | values)
            print("    " + ", ".join(f"{name} {values[name]:.3f}" for name in MEASURES), flush=True)
    if path.exists():
        print("\n" + markdown(summary(kept(path))))


def trained_vae(args: argparse.Namespace, train: AnnData, seed: int) -> BetaTCVAE:
    _, size_factor_key, beta = SETS[args.data]
    scvi.settings.seed = seed
    BetaTCVAE.setup_anndata(train, size_factor_key=size_factor_key)
    model = BetaTCVAE(train, beta=beta)
    model.train(args.epochs, train_size=1.0, enable_progress_bar=False)
    return model


def judged(args: argparse.Namespace, method: str, vae: BetaTCVAE, held_out: AnnData, seed: int) -> dict[str, float]:
    """What the cells of a route are worth, and how much that changes while it is trained."""
    real, forest = vae.get_normalized_expression(held_out), {"n_trees": args.trees, "seed": seed}
    distances, start = [], time.process_time()
    scvi.settings.seed = seed
    name, _, weight = method.rstrip(")").partition(" (")
    for model in {"joint": jointly, "reverse KL": adversarially, "MichiGAN": adversarially}.get(name, as_it_is)(
        args, vae, float(weight or 0)
    ):
        cells = model.generate(held_out.n_obs, seed=seed).X
        distances.append(metrics.e_distance(real, cells, seed=seed))
    latent = (model if isinstance(model, BetaTCVAE) else vae).get_latent_representation(return_dist=True)
    return {
        "minutes": (time.process_time() - start) / 60,
        "E-distance": distances[-1],
        "spread": float(np.std(distances[len(distances) // 2 :], ddof=1)) if len(distances) > 2 else np.nan,
        "random forest error": metrics.random_forest_error(real, cells, **forest),
        "inception score": metrics.inception_score(
            real, cells, labels=held_out.obs[SETS[args.data][0]], **forest
        ).generated,
        "total correlation": metrics.total_correlation(*latent, seed=seed),
        **obedience(model, seed),
    }


def obedience(model: BetaTCVAE | MichiGAN, seed: int) -> dict[str, float]:
    """Mean correlation of sampled latents with those that the encoder finds, in cells made of them and in their own cells."""
    if isinstance(model, MichiGAN):
        return obeyed(model, seed)
    mean, var = model.get_latent_representation(return_dist=True)
    asked_for = np.random.default_rng(seed).normal(mean, np.sqrt(var)).astype(np.float32)
    x = torch.from_numpy(np.asarray(model.generate(latent=asked_for, seed=seed).X))
    with torch.inference_mode():
        found = model.module.encode(x)[0].numpy()
    return {
        name: float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(asked_for.T, z.T, strict=True)]))
        for name, z in (("obedience", found), ("obedience, real cells", mean))
    }


def as_it_is(args: argparse.Namespace, vae: BetaTCVAE, weight: float) -> Iterator[BetaTCVAE]:
    yield vae


def adversarially(args: argparse.Namespace, vae: BetaTCVAE, weight: float) -> Iterator[MichiGAN]:
    """MichiGAN on the latents of the beta-TCVAE, by its condition or (where there is a weight) by the reverse KL divergence."""
    if weight:
        model = ReverseKL.from_latent_model(vae, preset="paper", information_weight=weight)
        encoder = vae.module.eval().requires_grad_(False)

        def code_error(x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            mean, scale = encoder.encode(x)
            z = condition[:, : vae.module.n_latent]
            return (0.5 * ((z - mean) / scale).square() + scale.log()).sum(1).mean()

        model.module._code_error = code_error
    else:
        model = MichiGAN.from_latent_model(vae, preset="paper")
    for _ in range(N_LOOKS):
        model.train(args.epochs // N_LOOKS, enable_progress_bar=False)
        yield model


def jointly(args: argparse.Namespace, vae: BetaTCVAE, weight: float) -> Iterator[BetaTCVAE]:
    """A beta-TCVAE and a critic of what it decodes, trained at once with the sizes and rates of the published GAN."""
    model = BetaTCVAE(vae.adata, beta=vae.module.beta)
    module = model.module.train()
    x = torch.from_numpy(np.asarray(model.get_normalized_expression().todense()))
    critic = Critic(x.shape[1], 1, hidden=(1024, 512, 10), head=None)
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.0, 0.9), fused=True)
    of_vae = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    no_condition = x.new_zeros(2 * BATCH_SIZE, 1)
    n_steps = 0
    for _ in range(N_LOOKS):
        module.train()
        for _ in range(args.epochs // N_LOOKS):
            for rows in torch.randperm(len(x))[: len(x) // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE):
                real, n_steps = x[rows], n_steps + 1
                inferred = module.inference(real)
                z = torch.cat([inferred["z"], torch.randn_like(inferred["z"])])
                fake = module.generative(z, z.new_empty(len(z), 0))["px"].mean
                twice = torch.cat([real, real])
                score_real, score_fake, slopes = critic.scores_and_slopes(
                    twice, fake.detach(), no_condition, mixing=torch.rand(len(z), 1)
                )
                of_critic.zero_grad()
                loss = losses.wasserstein_critic_loss(score_real, score_fake)
                (loss + 10 * losses.unit_slope_penalty(slopes[0])).backward()
                of_critic.step()
                of_vae.zero_grad()
                px = torch.distributions.Normal(fake[:BATCH_SIZE], 1.0, validate_args=False)
                loss = module.loss({}, inferred, {"px": px}, n_obs=len(x)).loss
                if n_steps % N_CRITIC == 0:
                    loss = loss + weight * losses.wasserstein_generator_loss(critic(fake, no_condition))
                loss.backward()
                of_vae.step()
        module.eval()
        model.is_trained = True
        yield model


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Means of the seeds and their standard deviations."""
    groups = results.groupby(["data", "method", "epochs", "trees"], sort=False)
    table = groups[[*MEASURES, "minutes"]].agg(mean_and_spread)
    return table.assign(seeds=groups.size()).reset_index()


if __name__ == "__main__":
    main()
