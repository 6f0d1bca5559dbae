"""The schema's history, one module a step. A step is frozen once released: it never reads today's declarations."""
