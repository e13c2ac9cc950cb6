//! The suite that every backend passes: normal and hostile.
