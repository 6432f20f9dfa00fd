"""What others see of typedq: pages for probes and scrapers, spans of enqueues and attempts."""
