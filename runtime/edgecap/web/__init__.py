"""The live page and the demo: a small web server of the standard library, and a page that loads nothing from elsewhere.

The way of an event: listener → `page.LivePage` (a sink like any other) → `broadcast.Broadcast` → one bounded queue for
each browser → Server-Sent Events. No library is needed: a page is visited by a handful of people at once, each
visit is one thread that sleeps, and what a framework adds would cost a Raspberry Pi more to import than all of it.
"""
