//! Behaviour scripts.
