"""Networks of transformers, from the ``config.json`` beside the weights: read by ourselves, built as native classes."""
