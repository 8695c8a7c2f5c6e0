"""Procedural blood smears whose truth is known, for tests, demos and everything that must find planted faults."""
