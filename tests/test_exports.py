"""The shop window: what the package shows, and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gello_dramatiq


def test_every_name_that_is_shown_is_there_and_nothing_else_is_promised() -> None:
    for name in gello_dramatiq.__all__:
        assert getattr(gello_dramatiq, name) is not None
    assert set(gello_dramatiq.__all__) <= set(dir(gello_dramatiq))
    with pytest.raises(AttributeError, match="no attribute 'Gelo'"):
        _ = gello_dramatiq.Gelo


def test_type_checkers_and_the_interpreter_see_the_same_names() -> None:
    tree = ast.parse(Path(str(gello_dramatiq.__file__)).read_text())
    (guard,) = [node for node in tree.body if isinstance(node, ast.If)]
    for_checkers = {alias.asname for node in guard.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert for_checkers == set(gello_dramatiq.__all__)


def test_the_decorator_is_not_hidden_by_a_module_of_its_name() -> None:
    program = "import gello_dramatiq.app, gello_dramatiq as g; assert callable(g.queueable) and callable(g.current_job)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_the_package_loads_neither_dramatiq_nor_pydantic_nor_sqlalchemy() -> None:
    program = "import sys, gello_dramatiq; print(*{'dramatiq', 'pydantic', 'sqlalchemy', 'rich'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == ""
