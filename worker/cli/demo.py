"""`terminal-worker demo`."""

import typer

from worker.cli import common


def demo() -> None:
    """Watch requests run for a minute, with the worker killed on the way.

    At the end every promise is checked by a second client, and the exit code is 0
    if all were kept. It uses the Kafka of KAFKA_BOOTSTRAP_SERVERS; else a real one
    of its own, where Java 17 and Maven are; else a small embedded one.

    Examples:

        terminal-worker demo

        KAFKA_BOOTSTRAP_SERVERS=localhost:9092 terminal-worker demo
    """
    try:
        # Here, since its second Kafka client is an optional extra.
        from worker.demo.run import run
    except ModuleNotFoundError as error:
        common.fail(f"the demo needs {error.name}: pip install 'terminal-operations-worker[demo]'")
    if not run():
        raise typer.Exit(common.FAILED)
