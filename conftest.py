"""What holds for every test and every example of the documentation, in whichever process."""

import os
import random

# Nets here are tiny: threads cost more than they give, and results depend on their number. The
# libraries read this when they are imported.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch

from adaptlearn import _components as components

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Start from the same seeds, whichever tests this process has run before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, the generator of estimators without a random_state
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Names of components; what a test or an example registers is gone when it ends."""
    for slot in components._SLOT_PACKAGES:
        monkeypatch.setitem(components._REGISTRY, slot, dict(components.registered(slot)))
