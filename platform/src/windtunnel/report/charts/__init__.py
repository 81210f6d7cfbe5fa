"""Pictures: values in, one SVG out. They know nothing of lifecycles, and need no script.

Colours come from the stylesheet by class, so that they follow light and dark; nothing is told by colour alone.
"""
