//! Consoles (console.md).
