"""Listening for weeks: sources of sound, the stream and its gate, events, and where they go.

The way of a sound: source → model's rate → log-mel ring → gate → worker (encoder, decoder) → events → sinks.
`listener.Listener` turns the crank; everything it turns is in a module of its own and knows no thread or clock.
"""
