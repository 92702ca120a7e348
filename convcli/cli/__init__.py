"""The command line: flags in, exit code out.

Only the module of the command that was asked for is imported, and no module here imports NumPy, Pillow, torch or Rich
at its top: every turn of a shell loop pays for start-up. :func:`main` turns errors into exit codes; a batch of
``apply`` records the failure of each input and goes on.
"""

from convcli.cli.main import main as main
