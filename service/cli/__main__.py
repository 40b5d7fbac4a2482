"""`python -m service.cli`: the command line where the script is not on the path."""

from service.cli.app import main

main()
