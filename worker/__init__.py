"""Payment terminal operations, from a request on Kafka to its one final outcome."""

__version__ = "0.1.0"
