"""Scores of several models -> findings with their uncertainty. Numbers only: no models, no files."""
