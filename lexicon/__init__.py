"""Words: pronunciations, syllables, kigo, forms and the validator. No torch, no tokens."""
