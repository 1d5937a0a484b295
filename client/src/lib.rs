//! Typed client of the chain for Assay's own programs.
