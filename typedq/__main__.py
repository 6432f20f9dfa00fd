"""`python -m typedq`: the command line where no script is on the path."""

from typedq.cli import main

if __name__ == "__main__":
    main()
