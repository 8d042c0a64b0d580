"""A language model: read, loaded, asked, scored and written.

Belongs here: directories, templates, encoding, the definition of a score, generation, processes, export.
What only makes it faster is in `fast`. Does not belong here: training, and what a score means for a request.
"""
