"""Scores -> findings -> verdict: what is measured of a model, and what that says.

Belongs here: scoring the models, the checks, the verdict and the statistics under it.
Does not belong here: how a finding looks on a page (`report`), and who signs it (`seal`).
"""
