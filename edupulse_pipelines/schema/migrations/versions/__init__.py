"""The schema's history, one module a step. A step is frozen once released: it never reads today's declarations.

Its statements lie beside it, one file a dialect, as they were when the step was released. They hold structure only:
comments, functions and triggers are declared in `schema.objects` and applied after the last step.
"""
