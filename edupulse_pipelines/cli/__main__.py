"""`python -m edupulse_pipelines.cli` is the `edupulse` command."""

from edupulse_pipelines.cli import main

if __name__ == "__main__":
    main()
