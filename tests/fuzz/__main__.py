"""Coverage-guided fuzzing of the reader and of what is written after it.

    python -m tests.fuzz [seconds] [folder]    # 60 seconds unless said otherwise

Starts from the corpus; what reaches new code is kept in the folder, if one is given. An input that breaks something is
left beside it as `crash-...` (too slow: `timeout-...`), and the exit code is not 0.
"""

import importlib
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    found = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="fuzz-"))
    found.mkdir(parents=True, exist_ok=True)
    atheris = importlib.import_module("atheris")  # no types, and wheels for Linux only
    with atheris.instrument_imports(include=["worker.kafka", "worker.domain", "schemas.request"]):
        target = importlib.import_module("tests.fuzz.target")

    def run(data: bytes) -> None:
        target.check(target.decoded(data))

    options = [
        f"-max_total_time={seconds}",
        "-timeout=30",
        "-rss_limit_mb=1024",
        "-max_len=16384",
        f"-artifact_prefix={found}/",
        f"-dict={CORPUS.parent / 'words.dict'}",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(found), str(CORPUS)], run)
    atheris.Fuzz()  # never returns


if __name__ == "__main__":
    main()
