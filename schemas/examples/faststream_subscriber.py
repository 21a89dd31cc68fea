"""Tell of the outcomes that need a person, with FastStream: `python -m schemas.examples.faststream_subscriber`."""

import asyncio
import logging
import os

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

import schemas
from schemas import names

broker = KafkaBroker(os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"))


@broker.subscriber(
    os.environ.get("KAFKA_OUTCOMES_TOPIC", names.OUTCOMES_TOPIC),
    group_id=os.environ.get("GROUP_ID", "example-subscriber"),
    auto_offset_reset="earliest",
    isolation_level="read_committed",
    ack_policy=AckPolicy.ACK,  # after the handler, also of a record that it could not read: that one never gets better
)
async def on_outcome(message: KafkaMessage) -> None:
    received = schemas.read_outcome(message.body, message.headers)
    if received is not None and isinstance(received.outcome, schemas.Failed):
        failed = received.outcome
        logging.info("%s needs a person: %s", failed.message_id, failed.error.reason)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(FastStream(broker).run())
