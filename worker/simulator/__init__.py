"""Dintero's terminal operations API with faults to order: for trying the worker out, and for its tests."""
