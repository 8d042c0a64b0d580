"""One module per command: each joins the stages. The command line and the library both call these."""
