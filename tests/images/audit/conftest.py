"""Audits that many tests look at: each takes seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
from audited_pictures import Collection, collected, stamped

from tfcells.images.audit import Audit, audit


@pytest.fixture(scope="session")
def collection() -> Collection:
    return collected()


@pytest.fixture(scope="session")
def audited(collection: Collection) -> Audit:
    return audit(collection.table())


@pytest.fixture(scope="session")
def stamped_collection() -> Collection:
    return collected(stamped)


@pytest.fixture(scope="session")
def real_folder_of(real_data: Path) -> Callable[[str], Path]:
    def folder(name: str) -> Path:
        if not (real_data / name).is_dir():
            pytest.skip(f"no {name} in {real_data}")
        return real_data / name

    return folder
