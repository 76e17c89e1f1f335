"""Questions to an archive or a journal: by words, by sound, by time; and what was heard when."""
