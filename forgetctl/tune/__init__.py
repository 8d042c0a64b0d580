"""Searching for settings: trains and measures, so it stands above both."""
