"""Properties are checked without a deadline: on a busy machine the first example would miss any."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

from scoring.__main__ import start

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def scoring(files, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process, in the folder of `files`; returns (exit code, output, errors)."""

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scoring", *args])
        code = 0
        try:
            start()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
