//! The configuration: YAML as written becomes checked values, once, with every fault reported together.
//!
//! Nothing past this module sees YAML, an unresolved secret or a limit of zero.

mod values;

pub use values::*;
