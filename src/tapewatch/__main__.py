"""`python -m tapewatch`: the same as the command `tapewatch`."""

from tapewatch.app.cli.main import main

if __name__ == "__main__":
    main()
