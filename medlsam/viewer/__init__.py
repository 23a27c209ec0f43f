"""Look and click: templates made and results judged on a local page; nothing below this room knows of it."""
