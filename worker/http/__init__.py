"""The worker's read-only face: probes, metrics, and its status for programs and for people."""

from worker.http.server import ListenError, Server, View

__all__ = ["ListenError", "Server", "View"]
