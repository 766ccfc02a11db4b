"""Networks as files that run without this project: what is traced, how it is written, and the page that draws with it."""
