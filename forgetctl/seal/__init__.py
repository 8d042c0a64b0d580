"""Evidence that cannot be changed unseen, and its check: bundles, signatures, audits, proofs, purges. Imports no torch.

Belongs here: what an auditor relies on. Does not belong here: how a model is trained or scored.
"""
