//! Few-shot episodes from named-entity corpora and pictures.
