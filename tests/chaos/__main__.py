"""Attacks workers on a real Kafka and says whether every promise was kept.

    python -m tests.chaos --seed 7 --seconds 60 --faults kill,pause,broker-kill

Exit code 0: kept; 1: broken, each violation on a line; 2: wrong use.
"""

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.plan import FAULTS
from tests.chaos.run import run
from tests.support.system import System
from tests.support.topics import create_topics
from worker.demo.broker import KafkaBroker


def main() -> int:
    options = _options()
    # Its processes must not outlive it, however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _say(f"seed {options.seed}")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with KafkaBroker() as broker:
        system = System(broker.bootstrap, folder)
        try:
            create_topics(system.bootstrap, system.topics, partitions=options.partitions)
            report = run(
                system,
                broker,
                seed=options.seed,
                seconds=options.seconds,
                requests=options.requests,
                faults=options.faults,
                workers=options.workers,
            )
        finally:
            system.close()
    _say(str(report))
    if report.violations:
        _say(f"{len(report.violations)} violations; the workers' logs are in {folder}")
    return 1 if report.violations else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long load and faults last")
    parser.add_argument("--requests", type=int, default=900)
    parser.add_argument("--faults", type=_faults, default=FAULTS, help=",".join(FAULTS))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=6)
    return parser.parse_args()


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    unknown = set(names) - set(FAULTS)
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"not one of {', '.join(FAULTS)}: {', '.join(sorted(unknown)) or text!r}")
    return names


if __name__ == "__main__":
    sys.exit(main())
