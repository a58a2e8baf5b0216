"""Sphinx configuration: ``sphinx-build -W --keep-going docs docs/_build/html``."""

import os
import runpy
from pathlib import Path

# The gallery draws pictures while the pages are built; no screen is needed.
os.environ.setdefault("MPLBACKEND", "Agg")

import adaptlearn

project = "adaptlearn"
author = "adaptlearn developers"
copyright = "adaptlearn developers"
release = version = adaptlearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
# `pack` in the text links to its API page.
default_role = "py:obj"

# --- API pages ------------------------------------------------------------------------------
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The class template lists the members once; numpydoc would list them a second time.
numpydoc_show_class_members = False

# --- examples -------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[\\/]plot_",
    "ignore_pattern": r"__init__\.py|conftest\.py",
    "within_subsection_order": "FileNameSortKey",
    # Examples seed themselves, so their order does not matter; figures are closed in between.
    "reset_modules": ("matplotlib",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
}

# --- HTML -----------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"adaptlearn {version}"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
# These pages have no pages below them to list on the left.
html_sidebars = {page: [] for page in ("index", "getting_started", "data", "choosing", "own_loss")}


# --- figures --------------------------------------------------------------------------------
def setup(app):
    """Draw the figures of the guide before the pages are read."""

    def draw(app):
        script = Path(app.confdir, "_figures", "what_to_switch_on.py")
        runpy.run_path(str(script))["draw"](script.with_suffix(".svg"))

    app.connect("builder-inited", draw)
