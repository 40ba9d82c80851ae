"""What the tests of data sets share."""

import pytest

from lightning_ebm.data.episodes import DataError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder, which is the only place that a set can be read from and cached in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LIGHTNING_EBM_DATA", raising=False)
    return tmp_path


@pytest.fixture
def refuse(root):
    """Builds a set from a root, which fails in one line that matches, and leaves nothing in the cache."""

    def build(kind, message, **settings):
        with pytest.raises(DataError, match=message) as caught:
            kind(kind.config(**{"root": str(root)} | settings))
        assert "\n" not in str(caught.value)
        assert {path.suffix for path in (root / "cache").glob("*/*")} <= {".lock"}

    return build
