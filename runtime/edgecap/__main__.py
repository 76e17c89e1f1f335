"""`python -m edgecap`: the command line where the script is not on the path."""

from edgecap.cli import main

main()
