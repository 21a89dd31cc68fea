"""Read every outcome, with confluent-kafka: `python -m schemas.examples.confluent_consumer`."""

import logging
import os
import signal
from threading import Event

from confluent_kafka import Consumer, KafkaException

import schemas
from schemas import names

_POLL = 0.5


def handle(outcome: schemas.Created | schemas.Completed | schemas.Failed) -> None:
    match outcome:
        case schemas.Created(operation_id=operation_id):
            logging.info("%s created as %s", outcome.message_id, operation_id)
        case schemas.Completed(result=schemas.EndOfDayResult(sale_amount=amount)):
            logging.info("%s completed with sales of %d", outcome.message_id, amount)
        case schemas.Completed():
            logging.info("%s completed", outcome.message_id)
        case schemas.Failed(error=error):
            logging.info("%s failed: %s (%s)", outcome.message_id, error.reason, error.message)


def run(stopped: Event) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": os.environ.get("GROUP_ID", "example-consumer"),
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([os.environ.get("KAFKA_OUTCOMES_TOPIC", names.OUTCOMES_TOPIC)])
    try:
        while not stopped.is_set():
            record = consumer.poll(_POLL)
            if record is None:
                continue
            if record.error():
                raise KafkaException(record.error())
            try:
                received = schemas.read_outcome(record.value(), record.headers())
            except schemas.UnreadableOutcomeError as error:
                logging.warning("offset %d of partition %d skipped: %s", record.offset(), record.partition(), error)
            else:
                if received is not None:
                    handle(received.outcome)
            # After the handling, so that a crash repeats an outcome (drop it by its `ce_id`) and loses none.
            consumer.commit(message=record, asynchronous=False)
    finally:
        consumer.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    run(ended)
