import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import streamlit as st

from tests.dashboard.searched import seed_searched
from tests.dashboard.seeding import MEMBERS, seed_ensemble, seed_failure, seed_member


@pytest.fixture(scope="session")
def seeded_store(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the line-up `demo` (complete) and the line-up `audioset` (one member failed, no ensemble)."""
    database = tmp_path_factory.mktemp("seeded") / "mlflow.db"
    shutil.copy(migrated_store, database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        seed_failure()
        for name in MEMBERS:
            seed_member(name)
        seed_ensemble()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


@pytest.fixture
def seeded(seeded_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the seeded store, this test's own to change; its URI."""
    database = tmp_path / "mlruns" / seeded_store.name
    shutil.copytree(seeded_store.parent, database.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return f"sqlite:///{database}"


@pytest.fixture(scope="session")
def searched_store(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a line-up of three members whose lists were really merged, searched and fused."""
    database = tmp_path_factory.mktemp("searched") / "mlflow.db"
    shutil.copy(migrated_store, database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        seed_searched()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


@pytest.fixture
def searched(searched_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the searched store, this test's own to change; its URI. Runs of other copies have the same ids."""
    st.cache_data.clear()
    st.cache_resource.clear()
    database = tmp_path / "mlruns" / searched_store.name
    shutil.copytree(searched_store.parent, database.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return f"sqlite:///{database}"
