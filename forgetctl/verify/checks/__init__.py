"""One module a check of the verdict."""
