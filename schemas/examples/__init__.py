"""Programs of others, as they might be: each runs as it stands, against the brokers in KAFKA_BOOTSTRAP_SERVERS."""
