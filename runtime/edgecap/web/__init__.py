"""The live page and the demo: a small web server of the standard library, and a page that loads nothing external.

The way of an event: session, `page.LivePage` (a sink), `broadcast.Broadcast`, one bounded queue for each browser,
Server-Sent Events. A few people open the page at once and each is one sleeping thread, so no framework is needed, which
would cost a Raspberry Pi more to import than all of this.
"""
