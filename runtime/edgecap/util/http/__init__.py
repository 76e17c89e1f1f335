"""HTTP: a bounded server, and what is sent to one."""
