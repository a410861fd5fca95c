"""`python -m consilium`: the command line."""

from consilium.cli import main

main()
