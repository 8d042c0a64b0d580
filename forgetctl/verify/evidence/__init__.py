"""Scores -> findings."""
