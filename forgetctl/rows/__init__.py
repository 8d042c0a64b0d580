"""A row, and everything that is read or decided about rows: formats, refusals, holdouts, pairing, likeness, prechecks.

Belongs here: text, and what can be said of it without a model.
Does not belong here: tokens, and anything that needs torch.
"""
