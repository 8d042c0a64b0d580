"""The pipeline, one module per arrow: request, pairing, reference, unlearn, verify, report.

Stages do not import each other; `forgetctl.jobs` joins them.
"""
