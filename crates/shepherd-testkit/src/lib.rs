//! What tests, the demo and the benchmarks stand on: a real PostgreSQL, processes that cannot be left behind, fakes
//! and contract suites of the ports. A development dependency only; nothing that is shipped may know it.

pub mod leash;
pub mod postgres;
pub mod proxy;
