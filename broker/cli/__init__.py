"""The `floe` command. Importing this package costs nothing: click comes with `main()`, each command with
its use.
"""


def main() -> None:
    """Run the command line (console script `floe`). Exit status: 0 done, 1 failed, 2 used wrongly, 130
    Ctrl-C.
    """
    from broker.cli.root import run

    run()
