"""What others made, read safely; what we write, written privately and whole or not at all.

Belongs here: bytes, text, JSON, YAML, digests, full disks. Does not belong here: what a file means.
"""
