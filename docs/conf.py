"""Sphinx configuration."""

import os
import shutil
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent

project = "scmichigan"
author = "The scmichigan developers"
copyright = "2026, The scmichigan developers"
version = release = version_of("scmichigan")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# The tutorials lie at the root, where readers of the repository find them; Sphinx reads below docs/ only.
# copy2 keeps the time of change, so that an unchanged tutorial is not executed again.
for tutorial in sorted((HERE.parent / "tutorials").glob("*.md")):
    shutil.copy2(tutorial, HERE / "tutorials" / tutorial.name)

# -- API ----------------------------------------------------------------------

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
# A return type without a word of ours about it says less than the signature.
autodoc_typehints_description_target = "documented_params"
# Docstrings inherited from scvi-tools refer to pages of its documentation, which are not here.
autodoc_inherit_docstrings = False
napoleon_google_docstring = False
# "Returns" sections hold meaning, the type being in the signature; otherwise their first line is read as a type.
napoleon_use_rtype = False


def skip_refusals(app, what, name, obj, skip, options):
    """Leave out methods of scvi-tools that only say what to do in their place: they would hide the others."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Not available:") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_refusals)


# -- Text and notebooks -------------------------------------------------------

# A backend named in the environment would win over the kernel's own, and plots would not reach the pages.
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
# Progress bars and log lines go to stderr.
nb_output_stderr = "remove"

# -- Links to other projects --------------------------------------------------

# SCMICHIGAN_DOCS_OFFLINE=1 leaves them out, since an inventory that cannot be fetched is a warning, and -W an error.
if os.environ.get("SCMICHIGAN_DOCS_OFFLINE", "0") != "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scvi": ("https://docs.scvi-tools.org/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

# -- Pages --------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = "scmichigan"
