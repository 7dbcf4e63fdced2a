"""An import does nothing but import."""

import subprocess
import sys

# What is global: settings of matplotlib, random states, warning filters, log handlers, signals, threads, files.
CHECK = """
import logging, os, pathlib, random, signal, sys, warnings

import matplotlib, numpy, scanpy, scvi, torch  # what they do themselves is theirs

def state():
    return {
        "rcParams": dict(matplotlib.rcParams),
        "numpy": numpy.random.get_state()[1].tolist(),
        "random": random.getstate(),
        "torch": torch.get_rng_state().tolist(),
        "seed": scvi.settings.seed,
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "dtype and threads": (torch.get_default_dtype(), torch.get_num_threads()),
        "filters": list(warnings.filters),
        "handlers": [logging.getLogger(name).handlers for name in (None, "scmichigan", "scvi")],
        "levels": [logging.getLogger(name).level for name in (None, "scmichigan", "scvi")],
        "verbosity": str(scanpy.settings.verbosity),
        "signal": signal.getsignal(signal.SIGINT),
        "environment": dict(os.environ),
        "files": sorted(map(str, pathlib.Path.cwd().rglob("*"))),
    }

warnings.simplefilter("error")
before = state()
import scmichigan
import scmichigan.cli, scmichigan.datasets, scmichigan.demo, scmichigan.metrics, scmichigan.pl
changed = [name for name, value in state().items() if value != before[name]]
sys.exit(f"the import changed {changed}" if changed else 0)
"""


def test_import_has_no_side_effects(tmp_path):
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
