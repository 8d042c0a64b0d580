"""Section 5 of the NPO paper on TOFU: every method on every split, from a start model to a retrained reference."""
