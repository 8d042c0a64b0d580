"""The owner's register of deletion requests: dates as the law counts them, rules, and one SQLite file.

Knows requests and the names of runs, not what is in a run; holds no text of a request.
"""
