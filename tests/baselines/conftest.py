"""What holds for all tests of baselines."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    """Each test begins with the same random numbers."""
    torch.manual_seed(0)
