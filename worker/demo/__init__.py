"""A story to watch: requests, a crash, and every promise checked at the end."""
