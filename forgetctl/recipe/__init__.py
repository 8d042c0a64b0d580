"""Every setting of a run, each described once where it is declared, and the bounds of the verdict.

Belongs here: YAML -> a frozen, checked `Recipe`. Does not belong here: what the settings do.
"""
