"""Mutual information of 10 latents and 4 factors: ours beside the obvious estimate, time and memory against cells.

    python benchmarks/mutual_information.py

The obvious estimate samples one latent of each cell and evaluates it under the posteriors of all cells, an n x n array
for each latent, in float32 torch; each runs in a process of its own, so that its peak memory can be measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np
import pandas as pd
import torch

from scmichigan.metrics import mutual_information

VALUES = (2, 2, 20, 4)


def make_cells(n: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(0)
    factors = pd.DataFrame({f"factor {i}": rng.integers(v, size=n) for i, v in enumerate(VALUES)})
    mean = rng.normal(size=(n, 10))
    mean[:, : len(VALUES)] += factors.to_numpy() / np.array(VALUES) * 4
    return mean, rng.uniform(0.02, 0.2, size=(n, 10)) ** 2, factors


def obvious(mean: np.ndarray, var: np.ndarray, factors: pd.DataFrame) -> np.ndarray:
    mean, scale = torch.from_numpy(mean).float(), torch.from_numpy(var).float().sqrt()
    z = torch.normal(mean, scale)
    information = np.zeros((mean.shape[1], factors.shape[1]))
    for k in range(mean.shape[1]):
        log_density = torch.distributions.Normal(mean[:, k], scale[:, k]).log_prob(z[:, k, None])
        entropy = -(torch.logsumexp(log_density, 1) - np.log(len(z))).mean()
        for f, name in enumerate(factors):
            codes = torch.from_numpy(factors[name].to_numpy())
            within = 0.0
            for value in codes.unique():
                rows = codes == value
                part = torch.logsumexp(log_density[rows][:, rows], 1) - rows.sum().log()
                within -= part.mean() * rows.float().mean()
            information[k, f] = entropy - within
    return information


def ours(mean: np.ndarray, var: np.ndarray, factors: pd.DataFrame) -> np.ndarray:
    return mutual_information(mean, factors, var=var, normalize=False, n_cells=len(mean)).to_numpy()


def measure(function: str, n: int) -> tuple[float, float, np.ndarray]:
    cells = make_cells(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    information = {"ours": ours, "obvious": obvious}[function](*cells)
    seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, information


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 3000, 6000, 12_000])
    rows = []
    for n in parser.parse_args().cells:
        results = {}
        for name in ("ours", "obvious"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results[name] = pool.apply(measure, (name, n))
        rows.append(
            {
                "cells": n,
                **{f"{name}, s": seconds for name, (seconds, _, _) in results.items()},
                "times as fast": results["obvious"][0] / results["ours"][0],
                **{f"{name}, MB": megabytes for name, (_, megabytes, _) in results.items()},
                "largest difference, nats": np.abs(results["ours"][2] - results["obvious"][2]).max(),
            }
        )
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
