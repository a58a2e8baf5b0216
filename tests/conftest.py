"""Fixtures shared by all tests."""

import pytest
import sklearn
from two_sides import make_sides

from adaptlearn import pack


@pytest.fixture(params=[False, True], ids=["plain", "routed"])
def routing(request):
    """Metadata routing off, and on."""
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


@pytest.fixture
def sides():
    """Source and target of one small problem, labels included."""
    return make_sides()


@pytest.fixture
def packed(sides):
    """The same as one ``X, y, sample_domain``, target labels masked."""
    Xs, ys, Xt, _ = sides
    return pack(Xs, ys, Xt)
