"""What the integration and chaos tests stand on: topics, records, and the processes under test."""
