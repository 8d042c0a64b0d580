"""Evidence that cannot be changed unseen: canonical JSON, hash chain, commitments, keys, manifest and signed statement.

Knows files and bytes, not what a run means; imports no torch.
"""
