"""Where the time of one caption goes, beside what the processor's arithmetic alone would take."""
