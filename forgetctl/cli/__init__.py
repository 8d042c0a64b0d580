"""The command line, one module a command: options, one call, what is shown, the exit code.

Belongs here: click, the terminal, what a process is set up with, what is said of a crash. `api` ties a run to the
owner's register and writes the model's card, for commands and for `import forgetctl` alike; of this room it alone
imports torch, and commands import it when they run. Does not belong here: any other logic.
"""
