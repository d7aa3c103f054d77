"""The explorer: see, edit, mix and repair images in the browser (`rgflow app`).

A page of Gradio over the same functions as the command line: it holds no logic of its own.
"""
