"""Which networks of timm and torchvision have given names and shapes; free of torch and of both libraries.

``fingerprints.json.gz`` is data, made by ``survey`` and ``build``::

    {"format": 1,
     "libraries": {"timm": "1.0.31", …},          versions that were surveyed
     "heads": [["fc.bias", "fc.weight"], …],      keys whose first side is the number of classes
     "stems": [["conv1.weight"], …],              keys whose second side is the number of input channels
     "positions": {"pos_embed": [[1, 197, 192], …]},   shapes of position embeddings, which follow the image size
     "rows": [[library, name, body, names, head, stem, classes, size, function, differs], …],
     "left_out": {"torchvision:raft_large": reason, …}}

``body``: 64 bits of the names and shapes without the head, ``names``: 32 bits of the names and ranks alone.
``head`` and ``stem`` are places in their lists. ``classes`` and ``size``: the library's own. Rows of one body and
one ``function`` compute the same; ``differs`` says what tells a function from the others of its body.
"""
