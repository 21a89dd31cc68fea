"""`python -m tests.simulation SEED ...` runs these seeds, tells the history of each, and what it broke."""

import sys

from tests.simulation.run import run


def main(arguments: list[str]) -> int:
    broken = False
    for argument in arguments:
        result = run(int(argument))
        sys.stdout.write(f"{result}\n")
        broken |= not result.kept
    return int(broken)


sys.exit(main(sys.argv[1:]))
