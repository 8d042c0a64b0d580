"""Searching for settings: trains and measures, so it stands above both.

Belongs here: which settings are tried, what they are compared by, what a search that was stopped goes on from.
Does not belong here: how a model is trained or verified.

Optuna 5 was tried for the search, on two invented landscapes of rate and epochs, 40 seeds each. 12 settings of up to 20
epochs cost it 160 to 182 epochs on average and up to 300, ours 120 always; a search that is continued draws the same
settings again unless they are kept outside of it; a study in SQLite takes 1.9 s to begin and is readable by everybody;
and it brings five packages. For it: with more epochs spent, its best setting scored .38 against ours at 1.60 (less is
better) on the landscape on which few epochs mislead, and .40 against .47 on the other. Ours promotes after few epochs.
"""
