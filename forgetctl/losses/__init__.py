"""The objectives, a researcher's room: a batch of log-probabilities in, a scalar to be minimised out. Needs torch only.

Belongs here: losses, their registry, and the methods that are weighted sums of them.
Does not belong here: models, rows, files, or anything else of ours.
"""
