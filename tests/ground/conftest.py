"""Hypothesis, modestly: the machine is shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ground", max_examples=50, deadline=None, database=None)
settings.load_profile("ground")
