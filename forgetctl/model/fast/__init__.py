"""Speed: the same results up to rounding. All of it may be deleted, and forgetctl would only be slower."""
