"""Ask for one operation, with confluent-kafka.

python -m schemas.examples.confluent_producer P11223351-T0013 end_of_day 0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44
"""

import os
import sys

from confluent_kafka import Producer

import schemas
from schemas import names

_TIMEOUT = 30.0


def main(terminal_id: str, operation: str, message_id: str) -> None:
    """The caller chooses the message ID, so that running this again asks for the same operation, not for another."""
    record = schemas.build_request(
        schemas.RequestData(terminal_id=terminal_id, operation=operation), message_id=message_id, source="/examples"
    )
    # The partitioner of Java's clients: every producer of requests must use the same one.
    client = {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"], "partitioner": "murmur2_random"}
    producer = Producer({**client, "enable.idempotence": True})
    producer.produce(
        os.environ.get("KAFKA_REQUESTS_TOPIC", names.REQUESTS_TOPIC),
        record["value"],
        record["key"],
        headers=[*record["headers"]],
    )
    if producer.flush(_TIMEOUT):
        sys.exit("not sent: no answer from the brokers; run it again with the same message ID")


if __name__ == "__main__":
    main(*sys.argv[1:])
