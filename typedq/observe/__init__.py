"""Traces and errors for the tools of others, by middleware and enqueue hooks alone."""
