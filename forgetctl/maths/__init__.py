"""Formulas only: tensors and arrays in, numbers out. No files, no models, no clock, nothing else of ours."""
