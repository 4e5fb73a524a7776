"""Signatures' shapes and types are checked in the tests (jaxtyping + beartype), at no cost to users."""

import os

import hypothesis
import jaxtyping

hook = jaxtyping.install_import_hook("lfiw", "typecheck.checked")

# the same examples in every CI run: what a new example finds is found at a desk, not in somebody else's change
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")
