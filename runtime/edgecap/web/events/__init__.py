"""Past events for the page: memory and journal, their tables, their kept sounds, and what people say they were."""
