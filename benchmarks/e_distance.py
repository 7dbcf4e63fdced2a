"""E-distance of equally many cells on both sides in 50 dimensions: ours in blocks beside scipy's full matrices.

    python benchmarks/e_distance.py

The obvious way computes the three n x n matrices of distances with scipy.spatial.distance.cdist, one after the other;
each way runs in a process of its own, so that its peak memory can be measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from scmichigan.metrics import e_distance

N_DIMENSIONS = 50


def make_cells(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, N_DIMENSIONS)), 0.2 + 1.1 * rng.normal(size=(n, N_DIMENSIONS))


def obvious(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()


def ours(x: np.ndarray, y: np.ndarray) -> float:
    return e_distance(y, x, n_cells=len(x))


def measure(function: str, n: int) -> tuple[float, float, float]:
    cells = make_cells(n)
    {"ours": ours, "obvious": obvious}[function](*make_cells(10))  # imports and first calls are no part of it
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    distance = {"ours": ours, "obvious": obvious}[function](*cells)
    seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 3000, 6000, 12_000], help="cells of each side")
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
                "difference, relative": abs(results["ours"][2] / results["obvious"][2] - 1),
            }
        )
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2g}".format))


if __name__ == "__main__":
    main()
