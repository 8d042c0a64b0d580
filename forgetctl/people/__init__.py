"""People: the kinds of identifier by which somebody is known, and whether a text gives one away.

Belongs here: how an identifier is parsed, written, recognised in a text, made up and asked for.
Does not belong here: models and tokens, and anything that needs torch.
"""
