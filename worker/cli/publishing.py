"""What a person publishes beside the worker."""

from collections.abc import Sequence

from worker.kafka.producer import Message, PlainProducer
from worker.settings import Settings


async def publish(settings: Settings, messages: Sequence[Message]) -> None:
    """Returns when all are durable. When it raises, some may have been written."""
    producer = PlainProducer(settings.connection)
    try:
        await producer.start()
        await producer.write(messages, ())
    finally:
        await producer.close()
