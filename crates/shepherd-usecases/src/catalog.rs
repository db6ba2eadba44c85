//! Templates and instance sizes.

pub mod create_size;
pub mod create_template;
