"""Attacks workers on a real Kafka and says whether every promise was kept.

    python -m tests.chaos --seed 7 --seconds 300 --nodes 3 --faults kill,pause,broker-kill

Exit code 0: kept; 1: broken, each violation on a line; 2: wrong use.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.arena import BROKER_PASSWORD, Arena
from tests.chaos.cluster import Cluster
from tests.chaos.network import Network
from tests.chaos.plan import FAULTS
from tests.chaos.report import Report
from tests.chaos.run import run


def main() -> int:
    options = _options()
    # Its processes must not outlive it, however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="chaos-")) if options.folder is None else options.folder
    folder.mkdir(parents=True, exist_ok=True)
    _say(f"seed {options.seed}, {options.nodes} brokers, faults {','.join(options.faults)}")
    report = _attack(options, folder)
    report.write(folder / "report.json")
    _say(str(report))
    _say(f"{len(report.violations)} violations; logs and report are in {folder}")
    return 1 if report.violations else 0


def _attack(options: argparse.Namespace, folder: Path) -> Report:
    with Network() as network:
        cluster = Cluster(network, nodes=options.nodes, password=BROKER_PASSWORD, seed=options.seed)
        with cluster:
            arena = Arena(cluster, network, folder, seed=options.seed)
            try:
                arena.prepare(options.partitions)
                report = run(
                    arena,
                    seed=options.seed,
                    seconds=options.seconds,
                    requests=int(options.rate * options.seconds),
                    faults=options.faults,
                    workers=options.workers,
                    patience=options.patience,
                )
            finally:
                arena.close()
                for number, log in enumerate(cluster.logs, 1):
                    shutil.copy(log, folder / f"broker-{number}.log")
            if report.violations or report.excused:
                # What the brokers have on disk is the only witness of what became of a transaction.
                cluster.keep(folder)
    return report


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long load and faults last")
    parser.add_argument("--rate", type=float, default=15.0, help="requests a second")
    parser.add_argument("--faults", type=_faults, default=FAULTS, help=",".join(FAULTS))
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3, help="brokers")
    parser.add_argument("--workers", type=int, default=3, help="at the start")
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds without an outcome, at the end")
    parser.add_argument("--folder", type=Path, help="for logs and report.json; else a new one")
    return parser.parse_args()


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    unknown = set(names) - set(FAULTS)
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"not one of {', '.join(FAULTS)}: {', '.join(sorted(unknown)) or text!r}")
    return names


if __name__ == "__main__":
    sys.exit(main())
