"""Everything that touches a model. Knows nothing of requests, runs or reports."""
