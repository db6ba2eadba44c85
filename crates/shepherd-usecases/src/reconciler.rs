//! The comparison of rows with clusters (kubernetes.md §9): rows without object and objects without row, reported and,
//! when asked for, marked. Nothing is ever deleted, neither here nor on a cluster.
//!
//! A run is a row. Whoever begins it leaves it to the queue, where a worker takes it; [`here`] works on it at once.

mod compare;
pub mod here;
pub mod start;
pub mod work;
