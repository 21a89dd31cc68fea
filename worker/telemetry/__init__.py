"""What the worker tells of itself: spans, metrics, logs. None of it may slow or stop the work."""
