"""The app: everything vitcam shows, for a browser. Only ``page`` and what stands beside it imports gradio."""
