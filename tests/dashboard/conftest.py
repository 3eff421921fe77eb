import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import streamlit as st

from tests.dashboard.searched import seed_searched
from tests.dashboard.seeding import MEMBERS, seed_ensemble, seed_failure, seed_member


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ax searches the weights of the searched store."""
    for item in items:
        if isinstance(item, pytest.Function) and "searched_store" in item.fixturenames:
            item.add_marker(pytest.mark.frameworks)


@contextmanager
def filled(migrated_store: Path, folder: Path) -> Iterator[Path]:
    """An empty store in `folder` that the block fills; complete in one file afterwards."""
    database = folder / "mlflow.db"
    shutil.copy(migrated_store, database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        yield database
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copied(store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of a store in `folder`, in use; its URI."""
    database = folder / "mlruns" / store.name
    shutil.copytree(store.parent, database.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return f"sqlite:///{database}"


@pytest.fixture(scope="session")
def seeded_store(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the line-up `demo` (complete) and the line-up `audioset` (one member failed, no ensemble)."""
    with filled(migrated_store, tmp_path_factory.mktemp("seeded")) as database:
        seed_failure()
        for name in MEMBERS:
            seed_member(name)
        seed_ensemble()
    return database


@pytest.fixture
def seeded(seeded_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the seeded store, this test's own to change; its URI."""
    return copied(seeded_store, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def searched_store(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a line-up of three members whose lists were really merged, searched and fused."""
    with filled(migrated_store, tmp_path_factory.mktemp("searched")) as database:
        seed_searched()
    return database


@pytest.fixture
def searched(searched_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the searched store, this test's own to change; its URI. Runs of other copies have the same ids."""
    st.cache_data.clear()
    st.cache_resource.clear()
    return copied(searched_store, tmp_path, monkeypatch)
