"""python -m forgetctl, so that launchers such as `accelerate launch -m forgetctl` work."""

from .cli.main import main

main()
