"""One module a check: measure(), judge(), table() and why_missing(), joined in its MEASURE.

Belongs here: all about a check, its words too. `forgetctl.verify.registry` finds every module whose name begins with
no underscore. Does not belong here: the statistics, and what scores a model.
"""
