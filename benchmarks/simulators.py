"""Seconds and peak memory of the simulators, and of the parameters from cells.

    python benchmarks/simulators.py

Splatter makes what the paper simulates, two batches of two paths, of which R takes 60 to 90 s and about 3 GB for 10,000
cells and 5,000 genes; PROSSTT makes three branches. Each runs in a process of its own, so that its peak memory can be
measured; Python and its libraries, and the cells to estimate from, are part of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import pandas as pd

from scmichigan.datasets import SplatterParameters, estimate_splatter, prosstt, splatter

NAMES = ("splatter, linear", "splatter, nonlinear", "prosstt", "estimate")


def paper_parameters(n_cells: int, n_genes: int, *, nonlinear: bool) -> SplatterParameters:
    return SplatterParameters(
        n_genes=n_genes,
        batch_cells=(n_cells // 2, n_cells - n_cells // 2),
        group_prob=(0.5, 0.5),
        de_prob=0.5,
        de_fac_loc=0.01,
        de_fac_scale=0.5,
        path_n_steps=20,
        path_nonlinear_prob=float(nonlinear),
    )


def measure(name: str, n_cells: int, n_genes: int) -> tuple[float, float]:
    cells = splatter(paper_parameters(n_cells, n_genes, nonlinear=False)).X if name == "estimate" else None
    start = time.perf_counter()
    match name:
        case "estimate":
            estimate_splatter(cells)
        case "prosstt":
            prosstt(1, n_genes, n_cells)
        case _:
            splatter(paper_parameters(n_cells, n_genes, nonlinear=name == "splatter, nonlinear"))
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, megabytes = pool.apply(measure, (name, arguments.cells, arguments.genes))
        rows.append(
            {"simulator": name, "cells": arguments.cells, "genes": arguments.genes, "s": seconds, "peak MB": megabytes}
        )
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":
    main()
