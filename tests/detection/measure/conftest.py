"""The toy corpus, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.detection.measure.toy import make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    return folder
