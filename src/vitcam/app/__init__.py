"""The app: everything vitcam shows, for a browser. ``server.serve`` starts it.

What is computed and drawn is in modules that know nothing of gradio; ``page``, ``components``, ``events`` and the
handlers put it on a page. What the browser reads besides is in ``static``.
"""
