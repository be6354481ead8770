"""The app: everything vitcam shows, for a browser. ``serving.serve`` starts it.

What is computed and drawn is in modules that know nothing of gradio; ``page``, ``layout``, ``wiring`` and ``desk``
put it on a page.
"""
