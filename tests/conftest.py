"""Settings shared by all tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Nets here are tiny: threads cost more than they give, and results depend on their number."""
    torch.set_num_threads(1)
