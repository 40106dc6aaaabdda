"""The language of Dockerfiles: what a file says, before anything of it is done.

`parser` makes nodes of the text, `instructions` values of the nodes, `stages` stages of the
instructions; `words` expands variables, `ignore` reads .dockerignore, `check` warns.
"""
