"""`python -m dnamamba <command>`: every command behind one name."""

from dnamamba.commands.entry import main

if __name__ == "__main__":
    main()
