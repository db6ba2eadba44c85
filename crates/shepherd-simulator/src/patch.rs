//! The patch formats the API server understands, as pure functions over JSON.
//!
//! - [`merge`]: RFC 7386 merge patch
//! - [`json`]: RFC 6902 JSON patch
//! - [`apply`]: server-side apply
//! - [`ownership`]: who owns which field, which apply is built upon; [`shapes`]: how lists and maps merge

pub(crate) mod apply;
pub(crate) mod json;
pub(crate) mod merge;
pub(crate) mod ownership;
pub(crate) mod shapes;
