"""The Kafka side: group membership, commits, restores, and the records on the wire."""
