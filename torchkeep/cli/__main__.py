"""`python -m torchkeep.cli`: the command, where no script was installed."""

from torchkeep.cli.main import main

if __name__ == "__main__":
    main()
