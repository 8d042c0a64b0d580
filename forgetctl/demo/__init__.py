"""A small world to try forgetctl on: invented people, and a tiny model that has learnt them by heart."""
