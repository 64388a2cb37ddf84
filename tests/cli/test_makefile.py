"""The Makefile leaves alone what it didn't make."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("target", ["demo", "test", "clean"])
def test_an_environment_of_the_users_own_is_left_alone(target: str, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "precious").touch()
    # Not what the make that runs these tests was told.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "VENV")}
    ended = subprocess.run(["make", target], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"the folder .venv is not ours; name another: make {target} VENV=.venv-gello")
    assert (tmp_path / ".venv" / "precious").exists()
