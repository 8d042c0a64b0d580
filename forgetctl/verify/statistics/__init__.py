"""Statistics only: arrays in, numbers with their uncertainty out. Imports nothing else of ours."""
