"""What people read about a run: the audit report, the model card, their words, tables and plots. Imports no torch.

Belongs here: how a record is shown. Does not belong here: what was measured, and any text of a row.
"""
