"""Benchmarks beside peers: ``python -m adaptlearn.benchmark accuracy`` and others."""

import argparse
from importlib import import_module

COMMANDS = {
    "accuracy": "target accuracy on public data, beside scikit-learn and skada",
    "imbalance": "balanced accuracy from long-tailed sources, beside imbalanced-learn",
    "label-shift": "accuracy where inputs and class proportions both moved, beside skada",
    "label-shift-estimators": "squared error of estimated class ratios, on generated predictions",
    "pretrained": "pretrained models of text, images and speech, frozen and fine-tuned",
    "speed": "seconds per epoch and per predicted row, beside a hand-written loop",
}
"""Subcommand -> what it says of itself. Each is a module of this package, imported when asked for,
that has ``add_arguments(parser)`` and ``run(args)``; ``run`` returns an exit code or None."""


def main(argv=None):
    """Run one benchmark from command-line arguments.

    Parameters
    ----------
    argv : list of str, default=None
        ``None`` takes the arguments of this process.

    Returns
    -------
    code : int
        0 when everything ran.
    """
    parser = argparse.ArgumentParser(prog="python -m adaptlearn.benchmark", description=__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}"
    )
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    args, rest = parser.parse_known_args(argv)
    module = import_module(f".{args.command.replace('-', '_')}", __name__)
    parser = argparse.ArgumentParser(
        prog=f"python -m adaptlearn.benchmark {args.command}", description=COMMANDS[args.command]
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(rest)) or 0
