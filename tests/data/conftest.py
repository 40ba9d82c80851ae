"""What the tests of data sets share."""

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder, which is the only place that a set can be read from and cached in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LIGHTNING_EBM_DATA", raising=False)
    return tmp_path
