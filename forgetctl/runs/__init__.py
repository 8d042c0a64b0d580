"""The run directory and what proves it: its layout, its events, its commitments, and the run that it began from.

Belongs here: files of a run and who may write them. Does not belong here: how a model is trained or judged.
"""
