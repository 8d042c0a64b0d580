"""A language model: read, loaded, asked, scored and written.

Belongs here: directories and GGUF files, templates, encoding, the definition of a score, generation, processes, export.
`protocol` says what is used of transformers' models. Public: `load`, `directories`, `scoring`, `scores`, `generation`.
What only makes it faster is in `fast`. Does not belong here: training, and what a score means for a request.
"""
