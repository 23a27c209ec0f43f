"""Few-shot localization: encoder, pretraining, templates, search."""
