"""Domain adaptation and class imbalance with a scikit-learn interface."""

import argparse
import sys
from importlib import import_module

_COMMANDS = {
    "demo": ("benchmark.demo", "see domain adaptation work on real data, in under a minute"),
    "benchmark": ("benchmark", "accuracy and speed beside other packages"),
}


def main(argv=None):
    """Run ``python -m adaptlearn COMMAND ...``."""
    parser = argparse.ArgumentParser(prog="python -m adaptlearn", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in _COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    arguments, rest = parser.parse_known_args(argv)
    module = import_module(f".{_COMMANDS[arguments.command][0]}", __package__)
    return module.main(rest)


if __name__ == "__main__":
    sys.exit(main())
