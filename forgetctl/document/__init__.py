"""How the audit report looks and reads: records, words, formats, plots and templates. Imports no torch."""
