"""``python -m pathlift``: the command line."""

from pathlift.cli import main

if __name__ == "__main__":
    main()
