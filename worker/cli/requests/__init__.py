"""`request`, in its parts: lines are read and checked, then sent, then waited for."""
