"""Start -> unlearned, and base -> reference: preparing, planning, training, checkpoints.

Belongs here: everything that changes weights. Does not belong here: whether the result is good (`verify`).
"""
