"""What a request may say of itself. Apart from the rest, so that the command line can name the choices at once."""

from __future__ import annotations

from pathlib import Path

DEFAULT_REGISTER = Path("forgetctl-requests.sqlite")

JURISDICTIONS = ("gdpr", "ccpa", "other")
IDENTITY_RESULTS = ("pending", "verified", "not-needed", "failed")
IDENTITY_SETTLED = ("verified", "not-needed")
"""Results under which a request may be granted."""
DECISIONS = ("granted", "partly", "refused")
ARTEFACT_KINDS = ("base-model", "adapter", "quantised-copy", "index", "backup", "other")
ARTEFACT_STATUSES = ("pending", "done", "not-affected")
