"""Signatures' shapes and types are checked in the tests (jaxtyping + beartype), at no cost to users."""

import jaxtyping

hook = jaxtyping.install_import_hook("lfiw", "typecheck.checked")
