"""Listening for weeks: sound from sources, through a gate and a model, to events, and on to sinks.

The way of a sound: source, model's sample rate, log-mel ring, gate, worker (encoder, decoder), events, sinks. The
loop of `edgecap.live.loop` runs in the thread of the caller of `ListenSession.changes`. Other threads: the worker
(`pipeline.worker`), PortAudio's callback, and those that sinks start. docs/architecture.md lists them all.
Gate, meter, hop control and event builder read no clock: they are driven by the sound.
"""
