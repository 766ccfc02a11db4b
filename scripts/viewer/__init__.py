"""A page in the browser for generators and style transfer: `python -m scripts.viewer`. What is drawn needs no Gradio."""
