"""The command line, one module a command: options, one call, what is shown, the exit code.

Belongs here: click, the terminal, what a process is set up with, what is said of a crash, and the ties between a run
and the owner's register. Does not belong here: logic that a library user needs too, and torch at import.
"""
