"""Textual's drawing, layout, style sheets and wrapping, made quicker from within."""
