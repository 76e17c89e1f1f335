"""Listening, the live page and long runs, measured. Developers' tools."""
