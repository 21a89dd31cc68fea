"""`check`, in its parts: the network, the topics and what is allowed on them, the API."""
