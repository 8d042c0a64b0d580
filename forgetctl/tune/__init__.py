"""Searching for settings: trains and measures, so it stands above both.

Belongs here: which settings are tried, what they are compared by, what a search that was stopped goes on from.
Does not belong here: how a model is trained or verified.

Optuna 5 was tried for the search. Its pruner halves asynchronously: 12 settings of 20 epochs cost 160 epochs on average
and up to 300, where ours cost 120; a search that is continued draws the same settings again unless they are kept
outside of it; a study in SQLite takes 1.9 s to begin and is readable by everybody; and it brings five packages.
"""
