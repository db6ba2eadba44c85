//! What tests, the demo and the benchmarks stand on: a real PostgreSQL, processes that cannot be left behind, fakes
//! and contract suites of the ports; and what the documents say, to hold code against it. A development dependency only; nothing that is shipped may know it.

pub mod documents;
pub mod leash;
pub mod postgres;
pub mod proxy;
