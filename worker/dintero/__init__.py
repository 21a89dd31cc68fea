"""Dintero's terminal operations API: transport, tokens, circuit and budget per account, and what its answers mean."""
